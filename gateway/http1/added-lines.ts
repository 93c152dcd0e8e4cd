import type { HeaderLine } from "../decision.ts";

/** A line as it is written. What is no field is a bug of who made it, and must not become a second line, or another message. */
export function writeLines(lines: readonly HeaderLine[]): string {
  let text = "";
  for (const [name, value] of lines) text += `${name}: ${value}\r\n`;
  // Read as a whole, which costs less than each by itself: as many lines as were meant, and nothing but lines.
  if (FIT.test(text) && countLines(text) === lines.length) return text;
  throw new Error(`A header line cannot be written: ${lines.map(([name]) => JSON.stringify(name)).join(", ")}`);
}

/** A target as it is written, under the same promise. */
export function writeTarget(target: string): string {
  if (target === "" || UNFIT_TARGET.test(target)) throw new Error("The request target cannot be written");
  return target;
}

// No characters beyond latin1: their low byte alone would be sent, and that may be a line feed.
const FIT = /^(?:[!#$%&'*+\-.^_`|~\dA-Za-z]+: [\t\x20-\x7e\x80-\xff]*\r\n)*$/;
const UNFIT_TARGET = /[^\x21-\x7e]/;

function countLines(text: string): number {
  let lines = 0;
  for (let at = text.indexOf("\n"); at !== -1; at = text.indexOf("\n", at + 1)) lines++;
  return lines;
}
