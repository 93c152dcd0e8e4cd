/** `npm run soak [-- SHARE]`: the connects and aborts of `PARTS`, half of them for each way to read; SHARE (0 to 1) of them for a quick look. */
import { READ_MODES } from "../../gateway/connections/open-connections.ts";
import { described, faultsOf, SOAKS, soak } from "./soak.ts";

/** No client begins later, whatever is left to do: what was not played counts as failed. */
const WITHIN_MS = 420_000;
const WARM_UP = 3_000;

const end = performance.now() + WITHIN_MS;

const share = Number(process.argv[2] ?? "1");
let passed = true;
for (const reads of READ_MODES) {
  for (const [name, { scripts, count: all }] of Object.entries(SOAKS)) {
    const count = Math.round((all * share) / READ_MODES.length);
    console.log(`${count} ${name}, ${scripts.length} kinds and targets, read by ${reads} …`);
    const outcome = await soak(reads, { scripts, count, warmUp: WARM_UP, withinMs: end - performance.now() });
    const faults = faultsOf(outcome, count);
    console.log(described(outcome));
    for (const fault of faults) console.log(`  ${fault}`);
    console.log(faults.length === 0 ? "  ok: everything is back at its baseline\n" : "  NOT OK\n");
    passed &&= faults.length === 0;
  }
}
console.log(passed ? "The soak passed" : "The soak failed");
process.exit(passed ? 0 : 1);
