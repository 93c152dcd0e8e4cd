import { execFileSync } from "node:child_process";
import { chmodSync, chownSync, existsSync, mkdirSync, statSync } from "node:fs";
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
  chmodSync(cache, 0o777);
  t.equal(cacheOf(root), "none");
});

t.test("there is none in an installation of another user, and none without packages", async (t) => {
  const { root, cache } = installation(t);
  chownSync(join(root, "node_modules"), 12_345, 12_345);
  t.equal(cacheOf(root), "none");
  t.notOk(existsSync(cache));
  t.equal(cacheOf(join(root, "nothing")), "none");
});
