/**
 * `npm run soak [-- SHARE]`: the connects and aborts of `SOAKS`; SHARE (0 to 1) of them for a quick look.
 * `npm run soak -- --minutes N [--tls] [--http2] [--clients N] [--seed N]`: random clients for so long, each of whose responses must belong to its request.
 * Both run on the kind of sockets that `BERTH_SOCKETS` names.
 */
import { parseArgs } from "node:util";
import { testSockets } from "../fixtures/connections.ts";
import { playMixedSoak } from "./mixed/mixed-soak.ts";
import { described, faultsOf, SOAKS, soak } from "./soak.ts";

/** No client begins later, whatever is left to do: what was not played counts as failed. */
const WITHIN_MS = 420_000;
const WARM_UP = 3_000;

const { values, positionals } = parseArgs({
  options: {
    minutes: { type: "string" },
    tls: { type: "boolean", default: false },
    http2: { type: "boolean", default: false },
    clients: { type: "string", default: "48" },
    seed: { type: "string" },
  },
  allowPositionals: true,
});
const sockets = testSockets();
const passed = await (values.minutes === undefined ? playConnects(Number(positionals[0] ?? "1")) : playForMinutes(Number(values.minutes)));
console.log(passed ? "The soak passed" : "The soak failed");
process.exit(passed ? 0 : 1);

async function playConnects(share: number): Promise<boolean> {
  const end = performance.now() + WITHIN_MS;
  let passed = true;
  for (const [name, { scripts, count: all }] of Object.entries(SOAKS)) {
    const count = Math.round(all * share);
    console.log(`${count} ${name}, ${scripts.length} kinds and targets, on sockets of ${sockets} …`);
    const outcome = await soak({ scripts, count, warmUp: WARM_UP, withinMs: end - performance.now() });
    console.log(described(outcome));
    passed = reportFaults(faultsOf(outcome, count)) && passed;
  }
  return passed;
}

async function playForMinutes(minutes: number): Promise<boolean> {
  const seed = Number(values.seed ?? Date.now() % 1_000_000_000);
  console.log(
    `${minutes} minutes of random clients, on sockets of ${sockets}${values.http2 ? " with HTTP/2" : values.tls ? " with TLS" : ""}, seed ${seed} …`,
  );
  const { lines, faults } = await playMixedSoak({
    secured: values.tls || values.http2,
    http2: values.http2,
    clients: Number(values.clients),
    ms: minutes * 60_000,
    seed,
  });
  console.log(lines.join("\n"));
  return reportFaults(faults);
}

function reportFaults(faults: readonly string[]): boolean {
  for (const fault of faults) console.log(`  ${fault}`);
  console.log(faults.length === 0 ? "  ok: everything is back at its baseline\n" : "  NOT OK\n");
  return faults.length === 0;
}
