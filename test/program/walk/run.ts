import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { walk, walkTable } from "./walk.ts";

/** `npm run walk`: a newcomer's walk, each step timed. `-- --linked`: with the packages of this tree instead of an install. */
const folder = mkdtempSync(join(tmpdir(), "berth-walk-"));
const stop = new AbortController();
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => stop.abort());
try {
  const onStep = ({ step, seconds, shown }: { step: string; seconds: number; shown: string }) =>
    console.log(`${seconds.toFixed(1).padStart(6)} s  ${step}: ${shown.split("\n", 1)[0]}`);
  const steps = await walk({ folder, install: !process.argv.includes("--linked"), signal: stop.signal, onStep });
  console.log(`\n${walkTable(steps)}`);
} finally {
  rmSync(folder, { recursive: true, force: true });
}
