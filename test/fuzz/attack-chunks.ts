import { createHttp1, MessageRefused, type RequestReader } from "../../gateway/http1/message-reader.ts";
import { numbers } from "./numbers.ts";
import { changed } from "./plain-heads.ts";

type ChunkTally = { cases: number; refused: number; failures: string[] };
type Next = (below: number) => number;

const MUTANTS = 7;
const FAILURES = 3;
const AFTER = "GET /";

/** Chunked bodies, which the parser and the scanner of plain chunks must end at the same byte, with the same data, however they are cut. */
export function attackChunks(seed: number, cases: number): ChunkTally {
  const [scanning, parsing] = [true, false].map((scans) => createHttp1({ underscoreHeaders: "drop", scans }).requests()) as [
    RequestReader,
    RequestReader,
  ];
  const next = numbers(seed);
  const tally: ChunkTally = { cases: 0, refused: 0, failures: [] };
  let other = body(next);
  while (tally.cases < cases && tally.failures.length < FAILURES) {
    const made = body(next);
    for (let mutant = 0; mutant <= MUTANTS; mutant++) {
      const bytes = Buffer.from((mutant === 0 ? made : changed(made, next, other)) + AFTER, "latin1");
      const cuts = Array.from({ length: next(6) }, () => next(bytes.length + 1)).toSorted((a, b) => a - b);
      const [seen, expected] = [readBody(scanning, bytes, cuts), readBody(parsing, bytes, cuts)];
      tally.cases++;
      if (expected.startsWith("refused")) tally.refused++;
      if (seen !== expected)
        tally.failures.push(`chunks, seed ${seed}: ${JSON.stringify(bytes.toString("latin1"))} cut at ${cuts.join(", ")}\n  ${seen}\n  ${expected}`);
    }
    other = made;
  }
  return tally;
}

function body(next: Next): string {
  let text = "";
  for (let count = next(4); count > 0; count--) {
    const size = next(3) === 0 ? next(300) + 1 : next(12) + 1;
    const digits = next(2) === 0 ? size.toString(16) : size.toString(16).toUpperCase();
    text += `${next(24) === 0 ? "0" : ""}${digits}${next(24) === 0 ? ";a=b" : ""}\r\n${"0\r\n\r\nab5".repeat(40).slice(0, size)}\r\n`;
  }
  return `${text}0\r\n${next(12) === 0 ? "X-Sum: 1\r\n" : ""}\r\n`;
}

function readBody(reader: RequestReader, bytes: Buffer, cuts: readonly number[]): string {
  let data = "";
  let from = 0;
  try {
    for (const to of [...cuts, bytes.length]) {
      const end = reader.readChunked(bytes, from, to, (start, stop) => (data += bytes.toString("latin1", start, stop)));
      if (end !== -1) return `ends at ${end} with ${JSON.stringify(data)}`;
      from = to;
    }
    return `waits with ${JSON.stringify(data)}`;
  } catch (error) {
    if (error instanceof MessageRefused) return `refused with ${error.status} after ${JSON.stringify(data)}`;
    throw error;
  } finally {
    reader.close();
  }
}
