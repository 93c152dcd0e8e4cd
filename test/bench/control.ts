/**
 * Where one control process ends: `npm run bench:control -- [1000,10000,100000] [--database postgres]`. Berth with so many containers asleep in its store: its processes are
 * those of `berth serve`, and a gateway that comes new is a process too. Waking is measured with the tests' orchestrator in memory, whose own time is
 * not in it. The figures stand in docs/limits.md.
 */
import { fork, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { openRuntimeFolder } from "../../processes/runtime-folder.ts";
import { startBerthProcess } from "../fixtures/berth-process.ts";
import type { EndReport, WakeOrder } from "./control/feed-end.ts";
import { openBenchDatabase } from "./bench-database.ts";
import { fill } from "./control/fill.ts";
import { cpuUs, rssKb } from "./proxy/cost.ts";
import { tree } from "./proxy/pinned.ts";
import { pause } from "../fixtures/clock.ts";

const benchDatabase = await openBenchDatabase();
const SIZES = (benchDatabase.words[0] ?? "1000,10000,100000").split(",").map(Number);
const CHANGES = 300;
const WAKES = 500;
const AT_ONCE = 64;
/** A whole reconcile period. */
const IDLE_MS = 10_000;
const SETTLE_MS = 3_000;

const ROWS: readonly [says: string, figure: (result: ControlResult) => string][] = [
  ["start to ready, s", ({ startMs }) => (startMs / 1_000).toFixed(1)],
  ["memory of control, MB", ({ controlMb }) => controlMb.toFixed(0)],
  ["the most it had, MB", ({ controlPeakMb }) => controlPeakMb.toFixed(0)],
  ["memory of one gateway, MB", ({ gatewayMb }) => gatewayMb.toFixed(0)],
  ["a new gateway knows all, s", ({ feedMs }) => (feedMs / 1_000).toFixed(2)],
  ["CPU of control at rest, % of a core", ({ idleShare }) => (idleShare * 100).toFixed(2)],
  ["sent to known, median ms", ({ delayMs }) => at(delayMs, 0.5).toFixed(2)],
  ["sent to known, p99 ms", ({ delayMs }) => at(delayMs, 0.99).toFixed(2)],
  ["wakes made durable, per s", ({ wakesPerS }) => wakesPerS.toFixed(0)],
];

type ControlResult = { size: number } & Awaited<ReturnType<typeof atRest>> & Awaited<ReturnType<typeof waking>>;

console.log(`${benchDatabase.name}; load before the run ${loadavg()[0]?.toFixed(1)}; changes ${CHANGES}, wakes ${WAKES}, ${AT_ONCE} at a time`);
for (const size of SIZES) {
  const result = await measure(size);
  console.log(`\n${size} containers asleep, load ${loadavg()[0]?.toFixed(1)}`);
  for (const [says, figure] of ROWS) console.log(says.padEnd(38) + figure(result).padStart(10));
}
await benchDatabase.close();
process.exit(0);

async function measure(size: number): Promise<ControlResult> {
  const folder = mkdtempSync(join(tmpdir(), "berth-bench-control-"));
  try {
    const { database, env } = await benchDatabase.fresh();
    const ids = await fill(join(folder, "data"), size, database);
    return { size, ...(await atRest(folder, env)), ...(await waking(folder, ids, database.postgres?.url ?? "")) };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** As in production, without calls. */
async function atRest(folder: string, database: Record<string, string>) {
  const data = join(folder, "data");
  const env = { ...database, BERTH_DRIVER: "process", BERTH_EDGE_PORT: "0", BERTH_DATA: data, BERTH_ADMIN_KEY: "bench-key", XDG_RUNTIME_DIR: folder };
  const begun = performance.now();
  const berth = await startBerthProcess({ role: "serve", cwd: folder, env, announces: /http:\S+/ });
  const startMs = performance.now() - begun;
  const [, control = 0, gateway = 0] = tree(berth.pid);
  await pause(SETTLE_MS);
  const { feedSocket } = openRuntimeFolder({ data, base: folder, uid: process.getuid?.() ?? 0 });
  const { end, ms: feedMs } = await openEnd(feedSocket);
  await ended(end);
  const before = cpuUs(control);
  await pause(IDLE_MS);
  const idleShare = (cpuUs(control) - before) / 1_000 / IDLE_MS;
  const memory = { controlMb: rssKb(control) / 1_024, controlPeakMb: peakKb(control) / 1_024, gatewayMb: rssKb(gateway) / 1_024 };
  await berth.end("SIGTERM");
  return { startMs, feedMs, idleShare, ...memory };
}

async function waking(folder: string, ids: readonly string[], database: string) {
  const socketPath = join(folder, "feed.sock");
  const control = fork(join(import.meta.dirname, "control/waking.ts"), [join(folder, "data"), socketPath, database]);
  await nextMessage(control);
  const { end } = await openEnd(socketPath);
  const one = await woken(end, { ids: ids.slice(0, CHANGES), atOnce: 1 });
  const many = await woken(end, { ids: ids.slice(CHANGES, CHANGES + WAKES), atOnce: AT_ONCE });
  control.send("when");
  const sentAt = (await nextMessage(control)) as Record<string, number>;
  await ended(end);
  await ended(control);
  const delayMs = Object.entries(one.knownAt).map(([id, known]) => (known - (sentAt[id] ?? Number.NaN)) / 1e6);
  return { delayMs, wakesPerS: Object.keys(many.knownAt).length / (many.ms / 1_000) };
}

async function openEnd(socketPath: string): Promise<{ end: ChildProcess; ms: number }> {
  const end = fork(join(import.meta.dirname, "control/feed-end.ts"), [socketPath]);
  const report = (await nextMessage(end)) as EndReport;
  return { end, ms: report.ms };
}

async function woken(end: ChildProcess, order: WakeOrder) {
  end.send(order);
  const report = (await nextMessage(end)) as EndReport;
  if (report.kind !== "woken") throw new Error("The message is of another kind.");
  return report;
}

/** The next thing that it says. */
async function nextMessage(child: ChildProcess): Promise<unknown> {
  const gone = once(child, "exit").then(() => Promise.reject(new Error("It ended.")));
  return ((await Promise.race([once(child, "message"), gone])) as [unknown])[0];
}

async function ended(child: ChildProcess): Promise<void> {
  const exit = once(child, "exit");
  child.disconnect();
  await exit;
}

function peakKb(pid: number): number {
  return Number(/^VmHWM:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? 0);
}

function at(values: number[], share: number): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length * share)] ?? Number.NaN;
}
