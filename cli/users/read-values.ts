import { Fault } from "../../lib/fault.ts";

const LARGEST_INPUT = 262_144;

/** Lines of `<name>=<value>`; a value may hold `=`, a name may not. Faults: SETTINGS_INVALID, without a value in it. */
export function readPairs(pairs: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    pairs.map((pair, index) => {
      const at = pair.indexOf("=");
      // The pair itself may be a secret that somebody typed without its name.
      if (at < 1) throw new Fault("SETTINGS_INVALID", `The ${ordinal(index)} credential is not <name>=<value>.`);
      return [pair.slice(0, at), pair.slice(at + 1)];
    }),
  );
}

/** A JSON object, or such lines. Faults: SETTINGS_INVALID, without a value in it. */
export async function readInput(input: AsyncIterable<Buffer | string>): Promise<object> {
  const pieces: Buffer[] = [];
  let bytes = 0;
  for await (const piece of input) {
    bytes += piece.length;
    if (bytes > LARGEST_INPUT) throw new Fault("SETTINGS_INVALID", `The input is longer than ${LARGEST_INPUT} bytes.`);
    pieces.push(Buffer.from(piece));
  }
  const text = Buffer.concat(pieces).toString("utf8").trim();
  if (text === "") throw new Fault("SETTINGS_INVALID", "There is nothing on standard input.");
  if (!text.startsWith("{")) return readPairs(text.split(/\r?\n/).filter((line) => line.trim() !== ""));
  try {
    return JSON.parse(text) as object;
  } catch {
    throw new Fault("SETTINGS_INVALID", "The input begins like a JSON object, and is none.");
  }
}

function ordinal(index: number): string {
  return ["first", "second", "third"][index] ?? `${index + 1}th`;
}
