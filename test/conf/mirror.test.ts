import { existsSync, globSync } from "node:fs";
import { basename, dirname, join, relative } from "node:path";
import t from "tap";

const ROOT = join(import.meta.dirname, "../..");

/** Folders below `test/` without a folder of the same path in the source, and what their tests are about. */
const WITHOUT_SOURCE: Readonly<Record<string, string>> = {
  bench: "benchmarks",
  correctness: "the table of odd HTTP",
  "drivers/conformance": "the table of cases that each driver passes",
  failover: "failovers of several control processes",
  fixtures: "the fixtures themselves",
  fuzz: "hostile streams",
  program: "the whole program",
  packages: "the command that tries public packages",
  run: "the runner",
  soak: "leaks",
};

const isWithoutSource = (folder: string) => Object.keys(WITHOUT_SOURCE).some((one) => folder === one || folder.startsWith(`${one}/`));
const tests = globSync("test/**/*.test.ts", { cwd: ROOT }).map((path) => relative("test", path));
const sources = globSync("*/**/*.{ts,tsx}", { cwd: ROOT, exclude: ["node_modules/**", "dist/**", "test/**"] });
const subjectOf = (path: string) => basename(path).replace(/(?:\.test)?\.tsx?$/, "");

t.test("a test of one file stands at its path, a test of a folder within that folder", async (t) => {
  const astray = tests.filter((path) => !isWithoutSource(dirname(path)) && dirname(path) !== "." && !existsSync(join(ROOT, dirname(path))));
  t.same(astray, [], "each folder of tests mirrors a folder of the source");
});

t.test("a test moves with the file of its name", async (t) => {
  const left = tests.flatMap((path) => {
    const name = subjectOf(path);
    if (isWithoutSource(dirname(path)) || existsSync(join(ROOT, dirname(path), name)) || existsSync(join(ROOT, dirname(path), `${name}.ts`)))
      return [];
    const [top = ""] = path.split("/");
    const named = sources.filter(
      (source) => source.startsWith(`${top}/`) && subjectOf(source) === name && !existsSync(join(ROOT, "test", dirname(source), `${name}.test.ts`)),
    );
    return named.length === 1 ? [`test/${path} belongs to ${named[0]}`] : [];
  });
  t.same(left, []);
});

t.test("each exception is in use", async (t) => {
  for (const folder of Object.keys(WITHOUT_SOURCE)) {
    t.ok(existsSync(join(ROOT, "test", folder)), folder);
    t.notOk(existsSync(join(ROOT, folder)), `${folder} has a source`);
  }
});
