import * as fc from "fast-check";
import type { Http1 } from "../../gateway/http1/message-reader.ts";
import { smuggling } from "../fixtures/smuggling.ts";
import { cut, readRequests, readResponses, type Outcome } from "../gateway/http1/read-stream.ts";
import { written, type Judge, type Stream } from "./judge.ts";
import { mutate } from "./mutate.ts";
import { numbers } from "./numbers.ts";
import { requestCases, responseCases, type FuzzCase } from "./streams.ts";

export type FuzzSide = "requests" | "responses";

/** How many streams, how many were refused, and how many messages h11 has seen just as they were decided on. */
export type Tally = { cases: number; refused: number; messages: number; failures: string[] };

/** Of each stream that fast-check makes, so many more are made by changing bytes. */
const MUTANTS = 15;
const MADE = 120;

/** The parts of a batch that follow from its seed. */
type Batch = { http1: Http1; side: FuzzSide; seed: number; next: (below: number) => number; tally: Tally; sent: Sent[] };
type Sent = { stream: Stream; expected: string; source: string };

/** A batch of `MADE * (MUTANTS + 1)` streams, all of which follow from `seed`. */
export async function attack(http1: Http1, judge: Judge, side: FuzzSide, seed: number): Promise<Tally> {
  const made = fc.sample(side === "requests" ? requestCases : responseCases, { numRuns: MADE, seed });
  const tally: Tally = { cases: 0, refused: 0, messages: 0, failures: [] };
  const batch: Batch = { http1, side, seed, next: numbers(seed), tally, sent: [] };
  for (const one of made) {
    tryOne(batch, one);
    for (let mutant = 0; mutant < MUTANTS; mutant++) tryOne(batch, { ...one, stream: mutantOf(batch, one, made) });
  }
  const judged = await judge.judge(batch.sent.map(({ stream }) => stream));
  for (const [at, { expected, source, stream }] of batch.sent.entries()) {
    if (judged[at] === expected) continue;
    const sent = JSON.stringify(stream.sent.toString("latin1"));
    fail(batch, "h11 sees something else", { stream: source, sent, expected: JSON.stringify(expected), seen: JSON.stringify(judged[at]) });
  }
  return tally;
}

const CORPUS = smuggling("", "Host: a\r\n").map(({ stream }) => stream.slice(0, 1_900));

function mutantOf({ side, next }: Batch, one: FuzzCase, made: readonly FuzzCase[]): string {
  const base = side === "requests" && next(8) === 0 ? (CORPUS[next(CORPUS.length)] ?? "") : one.stream;
  return mutate(base, next, made[next(made.length)]?.stream ?? "");
}

function tryOne(batch: Batch, { methods, stream }: FuzzCase): void {
  const { http1, side, next, tally } = batch;
  const bytes = Buffer.from(stream, "latin1");
  const source = JSON.stringify(stream) + (side === "responses" ? ` to ${methods.join(" ")}` : "");
  tally.cases++;
  try {
    const read = (pieces: Buffer[]) => (side === "requests" ? readRequests(http1, pieces) : readResponses(http1, methods, pieces));
    const whole = read([bytes]);
    const cuts = next(8) === 0 ? Array.from(bytes.keys()) : [next(bytes.length + 1), next(bytes.length + 1), next(bytes.length + 1)];
    const inPieces = read(cut(bytes, cuts));
    if (typeof whole.end === "number") tally.refused++;
    if (comparable(whole) !== comparable(inPieces))
      fail(batch, `Cut in ${cuts.length} places it is read otherwise`, { stream: source, whole: comparable(whole), cut: comparable(inPieces) });
    const { messages: seen, sent, endsWithConnection } = next(2) === 0 ? whole : inPieces;
    if (sent.length === 0) return;
    const last = seen.at(-1);
    if (endsWithConnection && last !== undefined) last.complete = true;
    tally.messages += seen.length;
    const kind = side === "requests" ? "requests" : endsWithConnection ? "responsesThatEnd" : "responses";
    batch.sent.push({ stream: { kind, methods, sent }, expected: written(seen), source });
  } catch (error) {
    fail(batch, `It throws ${String(error)}`, { stream: source });
  }
}

function fail({ tally, seed, side }: Batch, what: string, details: Record<string, string>): void {
  const lines = Object.entries(details).map(([name, text]) => `  ${name.padEnd(8)} ${text.slice(0, 3_000)}`);
  tally.failures.push([`${what} (${side}, seed ${seed})`, ...lines].join("\n"));
}

/** How much of the body of a refused message was passed on depends on the cuts. */
function comparable({ messages: seen, end }: Outcome): string {
  return JSON.stringify([seen.map((message) => (message.complete || typeof end !== "number" ? message : { ...message, body: "" })), end]);
}
