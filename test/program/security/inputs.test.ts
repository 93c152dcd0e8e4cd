import t from "tap";
import { longestBlock, MAX_BLOCK_MS } from "../../bench/inputs/input-case.ts";
import { loadInputCases } from "../../bench/load-input-cases.ts";

const SEED = 20_261_129;
const RUNS = 20;
/** On a busy machine caches are cold, so an input fails here only where it is clearly slow. `npm run bench:inputs` is exact. */
const BUSY_MACHINE = 3;

t.setTimeout(110_000);

t.test("the worst input of each parser leaves the event loop to other requests", async (t) => {
  for (const one of await loadInputCases()) {
    const { name, search, slow } = one;
    if (slow) continue;
    const ms = await longestBlock(one);
    t.ok(ms <= MAX_BLOCK_MS * BUSY_MACHINE, `${name}: ${ms.toFixed(1)} ms`);
    if (!search) continue;
    const { longestMs, input } = search(SEED, RUNS);
    t.ok(longestMs <= MAX_BLOCK_MS * BUSY_MACHINE, `${name}, searched: ${longestMs.toFixed(1)} ms for ${input.slice(0, 200)}`);
  }
});
