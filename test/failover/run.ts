/**
 * `npm run failover [-- --faults N --seed N --only TEXT,TEXT --lease N --containers N --table FILE]`: three control processes and three gateways, each in a network and with a wall clock
 * of its own, and PostgreSQL, under load and random faults. It checks after each fault, and prints the time until wakes are served again as a table.
 * `--only` plays the faults whose name has one of the texts, `--lease` sets the seconds of the lease, `--containers` stores so many more that sleep. It ends with 1 if a check fails; the targets for the times are judged apart. It needs root, PostgreSQL,
 * iptables and libfaketime.
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { enterOwnNetwork } from "../run/own-network.ts";
import { playFailover } from "./play.ts";
import { judgeTargets, resultTable } from "./summary.ts";

const { values } = parseArgs({
  options: {
    faults: { type: "string", default: "200" },
    seed: { type: "string" },
    only: { type: "string" },
    lease: { type: "string", default: "6" },
    containers: { type: "string", default: "0" },
    table: { type: "string" },
  },
});
enterOwnNetwork();
const seed = Number(values.seed ?? Math.floor(Math.random() * 2 ** 31));
console.log(`seed ${seed}`);
const folder = mkdtempSync(join(tmpdir(), "berth-failover-"));
const ends: (() => unknown)[] = [() => rmSync(folder, { recursive: true, force: true })];
const t = { teardown: (end: () => unknown) => void ends.push(end) };
let ending: Promise<void> | undefined;
const endAll = () =>
  (ending ??= (async () => {
    for (const end of ends.toReversed()) await end();
  })());
// The services outlive the control processes.
for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => void endAll().finally(() => process.exit(1)));
let failed = true;
try {
  const only = values.only?.split(",") ?? [];
  const [faults, containers] = [Number(values.faults), Number(values.containers)];
  const report = await playFailover(t, { faults, containers, seed, only, leaseSeconds: Number(values.lease), folder, report: console.log });
  const table = resultTable(report);
  console.log(`\n${table}\n\n${judgeTargets(report).join("\n")}`);
  if (values.table !== undefined) writeFileSync(values.table, `${table}\n`);
  failed = report.results.some(({ problems }) => problems.length > 0) || report.late.recognized < report.late.starts;
} finally {
  await endAll();
}
process.exit(failed ? 1 : 0);
