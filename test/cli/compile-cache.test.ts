import { execFileSync } from "node:child_process";
import { chmodSync, chownSync, copyFileSync, existsSync, mkdirSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import { tempFolder } from "../fixtures/temp-folder.ts";

const SOURCE = join(import.meta.dirname, "../../cli/compile-cache.ts");
const PROGRAM = `
  import { getCompileCacheDir } from "node:module";
  import { cacheCompiledCode } from ${JSON.stringify(SOURCE)};
  cacheCompiledCode(process.argv[1]);
  console.log(getCompileCacheDir() ?? "none");
`;

/** The folder that a process of this installation uses. */
function cacheOf(root: string, env: Record<string, string> = {}): string {
  const args = ["--input-type=module-typescript", "--eval", PROGRAM, root];
  return execFileSync(process.execPath, args, { encoding: "utf8", env: { PATH: process.env["PATH"], ...env } }).trim();
}

function installation(t: Test): { root: string; cache: string } {
  const root = tempFolder(t);
  mkdirSync(join(root, "node_modules"));
  return { root, cache: join(root, "node_modules/.cache/berth") };
}

t.test("compiled code is in a folder that only the owner of the installation reads and writes", async (t) => {
  const { root, cache } = installation(t);
  t.ok(cacheOf(root).startsWith(cache));
  t.equal(statSync(cache).mode & 0o777, 0o700);
  t.equal(cacheOf(root, { NODE_DISABLE_COMPILE_CACHE: "1" }), "none");
});

t.test("there is no cache that another user could write to", async (t) => {
  const { root, cache } = installation(t);
  mkdirSync(cache, { recursive: true });
  for (const mode of [0o777, 0o775, 0o702]) {
    chmodSync(cache, mode);
    t.equal(cacheOf(root), "none");
  }
});

t.test("a copy of an installation, whose folder others may read, has its cache", async (t) => {
  const { root, cache } = installation(t);
  mkdirSync(cache, { recursive: true });
  chmodSync(cache, 0o755);
  t.ok(cacheOf(root).startsWith(cache));
});

t.test("there is none in an installation of another user, and none without packages", async (t) => {
  const { root, cache } = installation(t);
  chownSync(join(root, "node_modules"), 12_345, 12_345);
  t.equal(cacheOf(root), "none");
  t.notOk(existsSync(cache));
  t.equal(cacheOf(join(root, "nothing")), "none");
});

/** Tells at its end whether Node had to load its compiler of types. */
const TELLS =
  "data:text/javascript,process.on('exit',()=>console.log(process.moduleLoadList.some((name)=>name.includes('amaro/dist'))?'compiled':'cached'))";

t.test("with the variables for it, a process loads no compiler of types, from its first file on", async (t) => {
  const { root, cache } = installation(t);
  const print = `import { cacheCompiledCode } from ${JSON.stringify(SOURCE)}; console.log(JSON.stringify(cacheCompiledCode(${JSON.stringify(root)})));`;
  const printed = execFileSync(process.execPath, ["--input-type=module-typescript", "--eval", print], { encoding: "utf8" });
  t.same(JSON.parse(printed), { NODE_COMPILE_CACHE: cache });
  const version = () => {
    const options = { encoding: "utf8", env: { PATH: process.env["PATH"], NODE_COMPILE_CACHE: cache } } as const;
    return execFileSync(process.execPath, ["--import", TELLS, join(import.meta.dirname, "../../berth.ts"), "version"], options)
      .trim()
      .split("\n")
      .at(-1);
  };
  t.equal(version(), "compiled", "the first one fills the cache");
  t.equal(version(), "cached");
});

t.test("the command berth uses the cache from its first file on, unless another user could write to it", async (t) => {
  const { root, cache } = installation(t);
  mkdirSync(join(root, "node_modules/.bin"));
  symlinkSync(process.execPath, join(root, "node_modules/.bin/node"));
  copyFileSync(join(import.meta.dirname, "../../berth"), join(root, "berth"));
  const program = `import { cacheCompiledCode } from ${JSON.stringify(SOURCE)};\nconst folder: string = import.meta.dirname;\ncacheCompiledCode(folder);`;
  writeFileSync(join(root, "berth.ts"), program);
  writeFileSync(join(root, "package.json"), JSON.stringify({ type: "module" }));
  const berth = () => {
    const env = { PATH: process.env["PATH"], NODE_OPTIONS: `--import=${TELLS}` };
    return execFileSync(join(root, "berth"), { encoding: "utf8", env }).trim().split("\n").at(-1);
  };
  t.equal(berth(), "compiled");
  t.equal(berth(), "compiled", "the first one has made the folder, this one fills it");
  t.equal(berth(), "cached");
  for (const mode of [0o777, 0o720, 0o702]) {
    chmodSync(cache, mode);
    t.equal(berth(), "compiled");
  }
  chmodSync(cache, 0o755);
  t.equal(berth(), "cached");
});
