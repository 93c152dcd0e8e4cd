import { Fault } from "../../../lib/fault.ts";

/** People nest a few levels. JSON of thousands cannot be written again: it ends the stack. */
const MAX_DEPTH = 64;

/** A JSON object of a package, with or without a byte order mark. `path` is its name in the package. Faults: PACKAGE_INVALID. */
export function parseJson(text: string, path: string): Record<string, unknown> {
  const refuse = (why: string, cause?: unknown) => new Fault("PACKAGE_INVALID", `${path} ${why}.`, { cause });
  if (isTooDeep(text)) throw refuse(`is nested more than ${MAX_DEPTH} levels deep`);
  let json: unknown;
  try {
    json = JSON.parse(text.replace(/^\uFEFF/, ""));
  } catch (error) {
    throw refuse(`is not JSON: ${(error as Error).message}`, error);
  }
  if (typeof json !== "object" || json === null || Array.isArray(json)) throw refuse("is not an object");
  return json as Record<string, unknown>;
}

/** Looks at brackets outside strings, before anything is parsed. */
export function isTooDeep(text: string): boolean {
  let depth = 0;
  for (let at = 0; at < text.length; at++) {
    const character = text[at];
    if (character === '"') at = endOfString(text, at);
    else if (character === "{" || character === "[") {
      if (++depth > MAX_DEPTH) return true;
    } else if (character === "}" || character === "]") depth--;
  }
  return false;
}

function endOfString(text: string, start: number): number {
  for (let at = start + 1; at < text.length; at++) {
    if (text[at] === "\\") at++;
    else if (text[at] === '"') return at;
  }
  return text.length;
}

/** A wrong value for a message: not more of it than helps, and nothing of lists and objects. */
export function shownValue(value: unknown): string {
  if (value === undefined) return "missing";
  if (typeof value === "string") return JSON.stringify(value.slice(0, 100));
  if (Array.isArray(value)) return "a list";
  return typeof value === "object" && value !== null ? "an object" : JSON.stringify(value);
}
