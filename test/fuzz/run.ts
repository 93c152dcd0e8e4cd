/**
 * `npm run fuzz`: at least a million streams, half of them requests, and on until `FUZZ_MINUTES` have passed; on every core. Then the attacks of
 * `end-to-end/`, through a whole gateway to real servers, on every kind of sockets, and random exchanges over HTTP/2, and with containers that move. `FUZZ_SEED`
 * begins elsewhere than this moment says. Ends at the first few failures, which name their seed. `npm run fuzz -- streams`, `-- attacks`, `-- exchanges`,
 * `-- moving`: one of the four. `-- heads`, `-- coverage`: `run-heads.ts`, `run-coverage.ts`.
 */
import { fork, spawn } from "node:child_process";
import { once } from "node:events";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { createHttp1 } from "../../gateway/http1/message-reader.ts";
import { attack, type Tally } from "./attack.ts";
import { SOCKET_KINDS } from "../fixtures/connections.ts";
import { runAttacks } from "./end-to-end/run-attacks.ts";
import { openJudge } from "./judge.ts";
import { runCoverage } from "./run-coverage.ts";
import { runHeads } from "./run-heads.ts";

const CASES = Number(process.env["FUZZ_CASES"] ?? 1_000_000);
const MINUTES = Number(process.env["FUZZ_MINUTES"] ?? 0);
const SEED = Number(process.env["FUZZ_SEED"] ?? Date.now() % 1_000_000_000);
const FAILURES = 3;
const SUITES = ["streams", "attacks", "exchanges", "moving", "heads", "coverage"];

type Work = { seed: number; cases: number; until: number };

const share = process.env["FUZZ_SHARE"];
const [only] = process.argv.slice(2);
if (only !== undefined && !SUITES.includes(only)) {
  console.error(`There is no suite "${only}" of npm run fuzz: it is one of ${SUITES.join(", ")}.`);
  process.exit(1);
} else if (only === "heads") await runHeads();
else if (only === "coverage") await runCoverage();
else if (share === undefined) {
  if (only === undefined || only === "streams") await lead();
  if (only === undefined || only === "attacks") await playAttacks();
  if (only === undefined || only === "exchanges") await playFor("exchanges.test.ts", 120);
  if (only === undefined || only === "moving") await playFor("moving.test.ts", 720);
  process.exit();
} else await work(JSON.parse(share) as Work);

async function lead(): Promise<void> {
  const workers = availableParallelism();
  const until = Date.now() + MINUTES * 60_000;
  console.log(`seed ${SEED}, at least ${CASES} streams, on ${workers} cores`);
  const total: Tally = { cases: 0, refused: 0, messages: 0, failures: [] };
  await Promise.all(
    Array.from({ length: workers }, async (_, index) => {
      const share: Work = { seed: SEED + index * 10_000_000, cases: Math.ceil(CASES / workers), until };
      const child = fork(import.meta.filename, { env: { ...process.env, FUZZ_SHARE: JSON.stringify(share) } });
      child.on("message", (tally) => add(total, tally as Tally));
      const [code] = (await once(child, "close")) as [number | null];
      if (code !== 0) total.failures.push(`A worker ended with ${code}`);
    }),
  );
  for (const failure of total.failures.slice(0, FAILURES)) console.log(`\n${failure}`);
  console.log(
    `\n${total.cases} streams, ${total.refused} refused, ${total.messages} messages seen by h11 as they were decided on, ${total.failures.length} failures`,
  );
  if (total.failures.length > 0 || total.cases < CASES) process.exitCode = 1;
}

async function playAttacks(): Promise<void> {
  const failures: string[] = [];
  for (const sockets of SOCKET_KINDS) failures.push(...(await runAttacks(SEED, sockets)));
  for (const failure of failures.slice(0, FAILURES)) console.log(`\n${failure}`);
  if (failures.length > 0) process.exitCode = 1;
}

/** A file that `npm test` runs for seconds. `endSeconds`: for what comes after the plays, which may be three of `MINUTES`. */
async function playFor(file: string, endSeconds: number): Promise<void> {
  const seconds = Math.max(60, MINUTES * 60);
  const env = { ...process.env, TAP_TIMEOUT: String(seconds * 3 + endSeconds), FUZZ_SECONDS: String(seconds), FUZZ_SEED: String(SEED) };
  const child = spawn(process.execPath, [join(import.meta.dirname, file)], { env, stdio: "inherit" });
  const [code] = (await once(child, "close")) as [number | null];
  if (code !== 0) process.exitCode = 1;
}

async function work({ seed, cases, until }: Work): Promise<void> {
  const http1 = createHttp1({ underscoreHeaders: "drop" });
  const judge = openJudge();
  const total: Tally = { cases: 0, refused: 0, messages: 0, failures: [] };
  for (let batch = 0; (total.cases < cases || Date.now() < until) && total.failures.length < FAILURES; batch++)
    add(total, await attack(http1, judge, batch % 2 === 0 ? "requests" : "responses", seed + batch));
  await judge.close();
  process.send?.(total, () => process.disconnect?.());
}

function add(total: Tally, tally: Tally): void {
  total.cases += tally.cases;
  total.refused += tally.refused;
  total.messages += tally.messages;
  total.failures.push(...tally.failures);
}
