/**
 * How long berth takes to start, with a new data folder and nothing in it: `npm run bench:start -- [program]`; without a program the single executable
 * that `npm run build:binary` made, and the source tree. Processor time is of all its processes until then; only that means much on a shared machine.
 */
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { startBerthProcess } from "../fixtures/berth-process.ts";
import { cpuUs, rssKb } from "./proxy/cost.ts";
import { tree } from "./proxy/pinned.ts";

const RUNS = 9;
const root = join(import.meta.dirname, "../..");
const [given] = process.argv.slice(2);
const binary = given ?? join(root, "dist/berth");
const PROGRAMS = [
  { name: given ?? "single executable", command: existsSync(binary) ? [binary] : undefined },
  ...(given === undefined ? [{ name: "source tree", command: [process.execPath, join(root, "berth.ts")] }] : []),
];

console.log(`Medians of ${RUNS} starts, from exec to the first answer; load before the run ${loadavg()[0]?.toFixed(1)}`);
console.log(["", "ms", "ms of CPU", "processes", "memory MB"].map(cell).join(""));
// In turn, so that what else happens on the machine meets both alike.
const starts = PROGRAMS.map(() => [] as Start[]);
for (let run = 0; run < RUNS; run++)
  for (const [index, { command }] of PROGRAMS.entries()) if (command !== undefined) starts[index]?.push(await start(command));
for (const [index, { name }] of PROGRAMS.entries()) {
  const measured = starts[index] ?? [];
  const figures = [
    median(measured.map(({ ms }) => ms)),
    median(measured.map(({ cpuMs }) => cpuMs)),
    measured[0]?.processes ?? 0,
    median(measured.map(({ rssMb }) => rssMb)),
  ];
  console.log([name, ...(measured.length === 0 ? ["npm run build:binary makes it"] : figures.map((figure) => figure.toFixed(0)))].map(cell).join(""));
}

type Start = { ms: number; cpuMs: number; processes: number; rssMb: number };

async function start(command: readonly string[]): Promise<Start> {
  const folder = mkdtempSync(join(tmpdir(), "berth-bench-start-"));
  try {
    const env = { BERTH_DRIVER: "process", BERTH_EDGE_PORT: "0", BERTH_DATA: join(folder, "data"), BERTH_ADMIN_KEY: "bench-key", HOME: folder };
    const begun = performance.now();
    const berth = await startBerthProcess({ role: "serve", cwd: folder, env, command, announces: /http:\S+/ });
    const { status } = await fetch(`${berth.announced[0]}/readyz`);
    const ms = performance.now() - begun;
    if (status !== 200) throw new Error(`It says that it is not ready: ${status}`);
    const lastStart = { ms, cpuMs: cpuUs(berth.pid) / 1_000, processes: tree(berth.pid).length, rssMb: rssKb(berth.pid) / 1_024 };
    await berth.end("SIGTERM");
    return lastStart;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function median(values: number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;
}

function cell(value: string | number): string {
  return String(value).padStart(20);
}
