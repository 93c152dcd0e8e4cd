import type { HeaderLine } from "../decision.ts";

/** A line as it is written. What is no field is a bug of who made it, and must not become a second line, or another message. */
export function writeLines(lines: readonly HeaderLine[]): string {
  let text = "";
  for (const [name, value] of lines) {
    if (UNFIT_NAME.test(name) || UNFIT_VALUE.test(value)) throw new Error(`The header line ${JSON.stringify(name)} cannot be written`);
    text += `${name}: ${value}\r\n`;
  }
  return text;
}

/** A target as it is written, under the same promise. */
export function writeTarget(target: string): string {
  if (target === "" || UNFIT_TARGET.test(target)) throw new Error("The request target cannot be written");
  return target;
}

const UNFIT_NAME = /[^!#$%&'*+\-.^_`|~\dA-Za-z]|^$/;
// Characters beyond latin1 too: their low byte alone would be sent, and that may be a line feed.
const UNFIT_VALUE = /[^\t\x20-\x7e\x80-\xff]/;
const UNFIT_TARGET = /[^\x21-\x7e]/;
