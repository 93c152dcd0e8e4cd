import * as fc from "fast-check";
import type { Http1 } from "../../gateway/http1/open-http1.ts";
import { smuggling } from "../fixtures/smuggling.ts";
import { cut, readRequests, readResponses, type Outcome } from "../http1/read-stream.ts";
import { written, type Judge, type Stream } from "./judge.ts";
import { mutate } from "./mutate.ts";
import { numbers } from "./numbers.ts";
import { requestCases, responseCases, type Case } from "./streams.ts";

export type Side = "requests" | "responses";

/** How many streams, how many were refused, and how many messages h11 has seen just as they were decided on. */
export type Tally = { cases: number; refused: number; messages: number; failures: string[] };

/** Of each stream that fast-check makes, so many more are made by changing bytes. */
const MUTANTS = 15;
const MADE = 120;

/** A batch of `MADE * (MUTANTS + 1)` streams, all of which follow from `seed`. */
export async function attack(http1: Http1, judge: Judge, side: Side, seed: number): Promise<Tally> {
  const next = numbers(seed);
  const made = fc.sample(side === "requests" ? requestCases : responseCases, { numRuns: MADE, seed });
  const known = side === "requests" ? CORPUS : [];
  const tally: Tally = { cases: 0, refused: 0, messages: 0, failures: [] };
  const judged: { stream: Stream; expected: string; source: string }[] = [];
  for (const one of made) {
    for (let mutant = 0; mutant <= MUTANTS; mutant++) {
      const base = mutant % 8 === 7 && known.length > 0 ? { ...one, stream: known[next(known.length)] ?? "" } : one;
      const other = made[next(made.length)]?.stream ?? "";
      const stream = mutant === 0 ? one.stream : mutate(base.stream, next, other);
      tryOne(http1, side, { ...one, stream }, next, tally, judged);
    }
  }
  const verdicts = await judge.judge(judged.map(({ stream }) => stream));
  for (const [at, { expected, source, stream }] of judged.entries())
    if (verdicts[at] !== expected)
      tally.failures.push(
        `h11 sees something else (seed ${seed})\n  stream   ${source}\n  sent     ${JSON.stringify(stream.sent.toString("latin1"))}\n  expected ${JSON.stringify(expected)}\n  seen     ${JSON.stringify(verdicts[at])}`,
      );
  return tally;
}

const CORPUS = smuggling("", "Host: a\r\n").map(({ stream }) => stream.slice(0, 1_900));

function tryOne(
  http1: Http1,
  side: Side,
  { methods, stream }: Case,
  next: (below: number) => number,
  tally: Tally,
  judged: { stream: Stream; expected: string; source: string }[],
): void {
  const bytes = Buffer.from(stream, "latin1");
  const read = (pieces: Buffer[]) => (side === "requests" ? readRequests(http1, pieces) : readResponses(http1, methods, pieces));
  const whole = read([bytes]);
  const source = JSON.stringify(stream) + (side === "responses" ? ` to ${methods.join(" ")}` : "");
  const pieces = next(8) === 0 ? Array.from(bytes.keys()) : [next(bytes.length + 1), next(bytes.length + 1), next(bytes.length + 1)];
  const inPieces = read(cut(bytes, pieces));
  tally.cases++;
  if (typeof whole.end === "number") tally.refused++;
  if (comparable(whole) !== comparable(inPieces))
    tally.failures.push(
      `Cut at ${pieces.join(" ")} it is read otherwise\n  stream ${source}\n  whole  ${comparable(whole)}\n  cut    ${comparable(inPieces)}`,
    );
  const outcome = next(2) === 0 ? whole : inPieces;
  if (outcome.sent.length === 0) return;
  const ends = outcome.endsWithConnection;
  const expected = outcome.seen.map((message, at) => (ends && at === outcome.seen.length - 1 ? { ...message, complete: true } : message));
  tally.messages += expected.length;
  judged.push({
    stream: { kind: side === "requests" ? "requests" : ends ? "responsesThatEnd" : "responses", methods, sent: outcome.sent },
    expected: written(expected),
    source,
  });
}

/** Of a message that was refused on its way, how much of its body had gone on by then depends on the cuts. */
function comparable({ seen, end }: Outcome): string {
  return JSON.stringify([seen.map((message) => (message.complete || typeof end !== "number" ? message : { ...message, body: "" })), end]);
}
