/** What `run-coverage.ts` calls with bytes that reach new code: the first byte chooses the kind of head and whether the last byte has come. */
import { compareHeads } from "./compare-heads.ts";

const EDITS = { remove: ["accept", "x-a"], add: [["X-A", "b"]] as const };
const requests = compareHeads("request");
const responses = compareHeads("response");

export function fuzz(data: Buffer): void {
  const flags = data[0];
  if (flags === undefined) return;
  // Its memory is the fuzzer's.
  const memory = Buffer.from(data);
  const { compare } = (flags & 1) === 1 ? requests : responses;
  const difference = compare(memory, 1, memory.length - ((flags & 2) >> 1), EDITS);
  if (difference !== undefined) throw new Error(difference);
}
