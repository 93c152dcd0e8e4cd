/**
 * `npm test`: a Docker engine, the checks, then every test file, or those named on the command line. The last line is
 * `N passed, N failed`.
 */
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { countTap, type Count } from "./run/count.ts";
import { openEngine, type Engine } from "./run/engine.ts";

const root = join(import.meta.dirname, "..");
const folder = mkdtempSync(join(tmpdir(), "berth-test-run-"));
const files = process.argv.slice(2);
const stop = new AbortController();
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => stop.abort());

/** Runs one program in a process group of its own, all of which ends when the run is stopped. */
function run(program: string, args: string[], env: NodeJS.ProcessEnv): Promise<boolean> {
  return new Promise((resolve) => {
    if (stop.signal.aborted) return resolve(false);
    const child = spawn(program, args, { cwd: root, env, stdio: ["ignore", "inherit", "inherit"], detached: true });
    const kill = (signal: NodeJS.Signals) => () => child.pid !== undefined && process.kill(-child.pid, signal);
    const onStop = () => {
      kill("SIGTERM")();
      setTimeout(kill("SIGKILL"), 5_000).unref();
    };
    stop.signal.addEventListener("abort", onStop, { once: true });
    const over = (well: boolean) => {
      stop.signal.removeEventListener("abort", onStop);
      resolve(well);
    };
    child.once("error", () => over(false));
    child.once("exit", (code) => over(code === 0));
  });
}

async function tests(engine: Engine): Promise<Count> {
  const output = join(folder, "output.tap");
  const reporter = process.stdout.isTTY ? "terse" : "tap";
  const well = await run(
    join(root, "node_modules/.bin/tap"),
    ["run", `--reporter=${reporter}`, `--output-file=${output}`, "--jobs=2", ...files],
    // The bare variables: what a developer has set for berth itself must not change what is tested.
    { ...Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^(BERTH|GROK|TAP)_/.test(name))), DOCKER_HOST: engine.host },
  );
  let text = "";
  try {
    text = readFileSync(output, "utf8");
  } catch {
    // It ended before it wrote any: counted as one failure.
  }
  return countTap(text, well);
}

const count: Count = { passed: 0, failed: 0 };
const add = (more: Count) => {
  count.passed += more.passed;
  count.failed += more.failed;
};
let engine: Engine | undefined;
try {
  engine = await openEngine(process.env["DOCKER_HOST"]);
  if (files.length === 0) add((await run("sh", [join(root, "conf/check.sh")], process.env)) ? { passed: 1, failed: 0 } : { passed: 0, failed: 1 });
  add(await tests(engine));
  if (count.failed > 0 && engine.logTail() !== "") console.error(`\nThe Docker engine's last lines:\n${engine.logTail()}`);
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  count.failed += 1;
} finally {
  await engine?.close();
  rmSync(folder, { recursive: true, force: true });
}
if (stop.signal.aborted) count.failed = Math.max(count.failed, 1);
console.log(`\n${count.passed} passed, ${count.failed} failed`);
process.exit(count.failed === 0 ? 0 : 1);
