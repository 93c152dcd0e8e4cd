/**
 * `npm run bench:inputs`: every parser that a client can reach reads its worst inputs. For each it prints the longest time for which the event
 * loop did nothing else, and it fails where that is more than 50 ms. Each file in `inputs/` exports `cases`.
 *
 * `npm run bench:inputs -- --only Dockerfile --seed 1 --runs 2000`
 */
import { parseArgs } from "node:util";
import { loadInputCases } from "./load-input-cases.ts";
import { longestBlock, MAX_BLOCK_MS } from "./inputs/input-case.ts";

const { values } = parseArgs({
  options: { only: { type: "string", default: "" }, seed: { type: "string", default: "1" }, runs: { type: "string", default: "500" } },
});

const rows: { name: string; ms: number; input?: string }[] = [];
for (const one of await loadInputCases()) {
  const { name, search } = one;
  if (!name.includes(values.only)) continue;
  rows.push({ name, ms: await longestBlock(one) });
  if (search) {
    const { longestMs, input } = search(Number(values.seed), Number(values.runs));
    rows.push({ name: `${name.split(":")[0]}: slowest of ${values.runs} that were searched`, ms: longestMs, input });
  }
}

const width = Math.max(...rows.map(({ name }) => name.length));
console.log(`| ${"input".padEnd(width)} | longest block, ms |\n| ${"-".repeat(width)} | ----------------: |`);
for (const { name, ms, input } of rows) {
  console.log(`| ${name.padEnd(width)} | ${ms.toFixed(1).padStart(17)} |`);
  if (ms > MAX_BLOCK_MS && input !== undefined) console.error(`  made of [before, repeated, after]: ${input.slice(0, 500)}`);
}
const slow = rows.filter(({ ms }) => ms > MAX_BLOCK_MS);
for (const { name, ms } of slow) console.error(`${name} blocks the event loop for ${ms.toFixed(1)} ms; ${MAX_BLOCK_MS} ms are allowed.`);
process.exitCode = slow.length > 0 ? 1 : 0;
