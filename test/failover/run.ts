/**
 * `npm run failover [-- --faults N] [-- --seed N]`: three control processes, three gateways and PostgreSQL, in a network of their own, under load and
 * random faults. It checks after each fault, and prints the time until wakes are served again. It needs root, PostgreSQL and iptables.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { enterOwnNetwork } from "../run/own-network.ts";
import { percentile, playFailover } from "./play.ts";

const { values } = parseArgs({ options: { faults: { type: "string", default: "200" }, seed: { type: "string" } } });
enterOwnNetwork();
const seed = Number(values.seed ?? Math.floor(Math.random() * 2 ** 31));
console.log(`seed ${seed}`);
const folder = mkdtempSync(join(tmpdir(), "berth-failover-"));
const ends: (() => unknown)[] = [() => rmSync(folder, { recursive: true, force: true })];
const t = { teardown: (end: () => unknown) => void ends.push(end) };
let failed = true;
try {
  const { results, plainMs, warm, wakes, writes } = await playFailover(t, { faults: Number(values.faults), seed, folder, report: console.log });
  const problems = results.flatMap((result) => result.problems);
  console.log(`\nA wake without a fault: ${Math.round(plainMs)} ms`);
  for (const kind of ["crash", "planned", "outage"] as const) {
    const times = results.filter((result) => result.kind === kind).map((result) => result.servedMs);
    const [p50, p99] = [percentile(times, 0.5), percentile(times, 0.99)].map((ms) => `${(ms / 1_000).toFixed(1)} s`);
    console.log(`${kind}: ${times.length} faults, wakes served after p50 ${p50}, p99 ${p99}`);
  }
  console.log(`Warm requests: ${warm.sent}, failed ${warm.failed.length}. Wakes: ${wakes.sent}, failed ${wakes.failed.length}.`);
  console.log(`Writes: ${writes.sent}, acknowledged ${writes.acknowledged}. Problems: ${problems.length}.`);
  failed = problems.length > 0;
} finally {
  for (const end of ends.toReversed()) await end();
}
process.exit(failed ? 1 : 0);
