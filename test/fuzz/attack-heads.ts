import type { HeaderEdits } from "../../gateway/decision.ts";
import { compareHeads, type HeadKind, type HeadTally } from "./compare-heads.ts";
import { numbers } from "./numbers.ts";
import { changed, plainRequest, plainResponse } from "./plain-heads.ts";

/** Of each generated head, so many more are made by changing bytes. */
const MUTANTS = 7;
const FAILURES = 3;
/** Beside the head: bytes of other messages, which must not matter. */
const BESIDE = Buffer.from("x\r\nHost: h\r\n\r\nGET / HTTP/1.1\r\nHost: other\r\n\r\n", "latin1");

const EDITS: readonly HeaderEdits[] = [
  { remove: [], add: [] },
  { remove: ["x-a", "x-forwarded-for", "accept", "host"], add: [["X-Forwarded-For", "10.0.0.1"]] },
  { remove: ["user-agent", "a", "cookie", "te"], add: [["a", ""], ["X-\u0041", "\xe9 \t"]] }, // prettier-ignore
];

/** `cases` heads and mutants, all of which follow from `seed`. */
export function attackHeads(kind: HeadKind, seed: number, cases: number): HeadTally {
  const { compare, tally } = compareHeads(kind);
  const next = numbers(seed);
  const generate = kind === "request" ? plainRequest : plainResponse;
  const memory = Buffer.alloc(8_192);
  let other = generate(next);
  while (tally.cases < cases && tally.failures.length < FAILURES) {
    const made = generate(next);
    for (let mutant = 0; mutant <= MUTANTS; mutant++) {
      const text = (mutant === 0 ? made : changed(made, next, other)).slice(0, 4_000);
      const before = next(3) === 0 ? next(BESIDE.length) : 0;
      BESIDE.copy(memory, 0, 0, before);
      memory.write(text, before, "latin1");
      BESIDE.copy(memory, before + text.length);
      // The bytes behind `end` are there, but did not come.
      const end = before + (next(8) === 0 ? next(text.length + 1) : text.length + (next(4) === 0 ? next(BESIDE.length) : 0));
      const difference = compare(memory, before, end, EDITS[next(EDITS.length)] as HeaderEdits);
      if (difference === undefined) continue;
      tally.failures.push(`${kind}, seed ${seed}: ${JSON.stringify(memory.toString("latin1", before, end))}\n  ${difference}`);
    }
    other = made;
  }
  return tally;
}
