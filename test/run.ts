/**
 * `npm test`: a Docker engine, the checks, then every quick test file. `npm run test:slow`: the slow ones, without the checks. `npm run test:sockets --
 * KIND`: those of the gateway on this kind of sockets, or the files after it. With files on the command line: those. The last line is `N passed, N failed`.
 */
import { spawn } from "node:child_process";
import { existsSync, globSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { cacheCompiledCode } from "../cli/compile-cache.ts";
import { countTap, failedFilesIn, failuresIn, type TestCount } from "./run/count.ts";
import { openEngine, type TestEngine } from "./run/engine.ts";
import { endLeftovers } from "./run/leftovers.ts";
import { enterOwnNetwork } from "./run/own-network.ts";
import { SLOW_FILES } from "./run/slow-files.ts";
import { bundleProgram } from "./run/program.ts";
import { ON_SOCKETS, socketKindOf } from "./run/on-sockets.ts";

const named = process.env["DOCKER_HOST"] ?? "";
if (named === "") enterOwnNetwork();

/** Up to so many failed files of a whole run are run once more, one at a time; more of them is a broken commit. */
const MAX_RUN_AGAIN = 3;

const root = join(import.meta.dirname, "..");
const folder = mkdtempSync(join(tmpdir(), "berth-test-run-"));
const words = process.argv.slice(2);
const isSlow = words[0] === "--slow";
const sockets = words[0] === "--sockets" ? socketKindOf(words[1]) : undefined;
const isNamed = words.length > 0 && !isSlow && sockets === undefined;
const quickFiles = () =>
  globSync("test/**/*.test.ts", { cwd: root })
    .toSorted()
    .filter((file) => !SLOW_FILES.includes(file));
function chosenFiles(): readonly string[] {
  if (isNamed) return words;
  if (isSlow) return SLOW_FILES;
  if (sockets === undefined) return quickFiles();
  return words.length > 2 ? words.slice(2) : globSync(ON_SOCKETS, { cwd: root }).toSorted();
}
const files = chosenFiles();
const stop = new AbortController();
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => stop.abort());

/** Runs one program in a process group of its own, all of which ends when the run is stopped; `hear` gets what it prints. */
function run(program: string, args: string[], env: NodeJS.ProcessEnv, hear?: (piece: string) => void): Promise<boolean> {
  return new Promise((resolve) => {
    if (stop.signal.aborted) return resolve(false);
    const child = spawn(program, args, { cwd: root, env, stdio: ["ignore", hear ? "pipe" : "inherit", "inherit"], detached: true });
    child.stdout?.setEncoding("utf8").on("data", (piece: string) => hear?.(piece));
    const kill = (signal: NodeJS.Signals) => {
      try {
        if (child.pid !== undefined) process.kill(-child.pid, signal);
      } catch {
        // All of it has ended.
      }
    };
    const onStop = () => {
      kill("SIGTERM");
      setTimeout(() => kill("SIGKILL"), 5_000).unref();
    };
    stop.signal.addEventListener("abort", onStop, { once: true });
    const over = (well: boolean) => {
      stop.signal.removeEventListener("abort", onStop);
      resolve(well);
    };
    child.once("error", () => over(false));
    child.once("close", (code) => over(code === 0));
  });
}

async function tests(engine: TestEngine): Promise<TestCount> {
  // The bare variables: what a developer has set for berth itself must not change what is tested.
  const bare = Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^(BERTH|GROK|TAP)_/.test(name)));
  const onSockets = sockets === undefined ? {} : { BERTH_SOCKETS: sockets };
  const program = isNamed ? {} : await bundleProgram(root);
  // Most files load half of berth, and so do the processes that they start: each would compile it anew.
  const env = { ...bare, ...cacheCompiledCode(root), ...program, ...onSockets, DOCKER_HOST: engine.host, TEST_RUN_FOLDER: folder };
  const tap = join(root, "node_modules/.bin/tap");
  // Required, not imported: before what tap imports into each process.
  const args = [`--node-arg=--require=${join(root, "test/run/prepare-process.ts")}`];
  const leftovers = endLeftovers(folder);
  using _ = { [Symbol.dispose]: () => leftovers.close() };
  // A person gets tap's own display, and the plain text goes to a file; a machine gets the plain text.
  if (process.stdout.isTTY) {
    const file = join(folder, "output.tap");
    const isGood = await run(tap, ["run", "--reporter=terse", `--output-file=${file}`, "--jobs=4", ...args, ...files], env);
    return countTap(existsSync(file) ? readFileSync(file, "utf8") : "", isGood);
  }
  const printed = async (jobs: number, these: readonly string[]) => {
    let output = "";
    const isGood = await run(tap, ["run", "--reporter=tap", `--jobs=${jobs}`, ...args, ...these], env, (piece) => {
      output += piece;
      process.stdout.write(piece);
    });
    return { failures: failuresIn(output), failedFiles: failedFilesIn(output) ?? [], count: countTap(output, isGood) };
  };
  // With one less of each, two processors are idle for a twentieth of the time; slow files wait for engines, browsers and other processes.
  const first = await printed(isSlow ? 6 : 4, files);
  failures += first.failures;
  if (isNamed || first.failedFiles.length === 0 || first.failedFiles.length > MAX_RUN_AGAIN) return first.count;
  const second = await printed(1, first.failedFiles);
  failures += second.failures;
  if (second.count.failed > 0) return first.count;
  failures = `Unstable, a defect to repair; passed when run again alone: ${first.failedFiles.join(" ")}\n${failures}`;
  return { passed: first.count.passed + first.count.failed, failed: 0 };
}

let failures = "";
const count: TestCount = { passed: 0, failed: 0 };
const add = (more: TestCount) => {
  count.passed += more.passed;
  count.failed += more.failed;
};
let engine: TestEngine | undefined;
try {
  engine = await openEngine(named);
  if (words.length === 0) {
    const isGood = await run("sh", [join(root, "conf/check.sh")], process.env);
    if (!isGood) failures = "npm run check: its findings are at the beginning of the output\n";
    add({ passed: Number(isGood), failed: Number(!isGood) });
  }
  add(await tests(engine));
  if (count.failed > 0 && engine.logTail() !== "") console.error(`\nThe Docker engine's last lines:\n${engine.logTail()}`);
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  count.failed += 1;
} finally {
  await engine?.close();
  rmSync(folder, { recursive: true, force: true });
}
// Last, where a machine that shows only the end of the output shows them.
if (failures !== "") console.log(`\nFailures:\n${failures}`);
if (stop.signal.aborted) count.failed = Math.max(count.failed, 1);
console.log(`\n${count.passed} passed, ${count.failed} failed`);
process.exit(count.failed === 0 ? 0 : 1);
