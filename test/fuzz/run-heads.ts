/**
 * `npm run fuzz -- heads`: the scanners beside the parser, on ten million heads and mutants, and a tenth of chunked bodies, on every core. `FUZZ_CASES`: how many.
 * `FUZZ_SEED` begins elsewhere than this moment says. Ends at the first differences, which name their seed.
 */
import { fork } from "node:child_process";
import { once } from "node:events";
import { availableParallelism } from "node:os";
import { attackChunks } from "./attack-chunks.ts";
import { attackHeads } from "./attack-heads.ts";
import type { HeadTally } from "./compare-heads.ts";

const CASES = Number(process.env["FUZZ_CASES"] ?? 10_000_000);
const SEED = Number(process.env["FUZZ_SEED"] ?? Date.now() % 1_000_000_000);
const BATCH = 50_000;
const FAILURES = 3;

const share = process.env["FUZZ_SHARE"];

export async function runHeads(): Promise<void> {
  if (share === undefined) await lead();
  else work(JSON.parse(share) as Work);
}

type Total = HeadTally & { bodies: number };
type Work = { seed: number; cases: number };

async function lead(): Promise<void> {
  const workers = availableParallelism();
  console.log(`seed ${SEED}, ${CASES} heads, on ${workers} cores`);
  const total: Total = { cases: 0, bodies: 0, scanned: 0, failures: [] };
  await Promise.all(
    Array.from({ length: workers }, async (_, index) => {
      const share: Work = { seed: SEED + index * 10_000_000, cases: Math.ceil(CASES / workers) };
      const child = fork(process.argv[1] ?? "", ["heads"], { env: { ...process.env, FUZZ_SHARE: JSON.stringify(share) } });
      child.on("message", (tally) => add(total, tally as Total));
      const [code] = (await once(child, "close")) as [number | null];
      if (code !== 0) total.failures.push(`A worker ended with ${code}`);
    }),
  );
  for (const failure of total.failures.slice(0, FAILURES)) console.log(`\n${failure}`);
  const { cases, scanned, bodies, failures } = total;
  console.log(`\n${cases} heads, ${scanned} of them scanned and read just as by the parser; ${bodies} chunked bodies; ${failures.length} failures`);
  process.exitCode = total.failures.length === 0 && total.cases >= CASES ? 0 : 1;
}

function work({ seed, cases }: Work): void {
  const total: Total = { cases: 0, bodies: 0, scanned: 0, failures: [] };
  for (let batch = 0; total.cases < cases && total.failures.length < FAILURES; batch++) {
    const heads = attackHeads(batch % 2 === 0 ? "request" : "response", seed + batch, BATCH);
    const chunks = attackChunks(seed + batch, BATCH / 10);
    add(total, { ...heads, bodies: chunks.cases, failures: [...heads.failures, ...chunks.failures] });
  }
  process.send?.(total, () => process.disconnect?.());
}

function add(total: Total, tally: Total): void {
  total.bodies += tally.bodies;
  total.cases += tally.cases;
  total.scanned += tally.scanned;
  total.failures.push(...tally.failures);
}
