import { Fault } from "../../../lib/fault.ts";
import { readFile, stat } from "node:fs/promises";

/** Authors nest a few levels. JSON with thousands of levels cannot be serialized: the stack overflows. */
const MAX_DEPTH = 64;

/** A JSON object of a package, with or without a byte order mark. `path` is its name in the package. Faults: PACKAGE_INVALID. */
export function parseJsonObject(text: string, path: string): Record<string, unknown> {
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
function isTooDeep(text: string): boolean {
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

/** More than authors write by hand, and small enough for memory, a row and lists. */
export const LONGEST_TEXT_BYTES = 131_072;

const ABSENT = new Set(["ENOENT", "ENOTDIR", "EISDIR"]);

/** A file that an author wrote; undefined where there is none. `path` is its name in the package. Faults: PACKAGE_INVALID for one that is too long. */
export async function readText(file: string, path: string, signal: AbortSignal, maxBytes = LONGEST_TEXT_BYTES): Promise<string | undefined> {
  try {
    const stats = await stat(file);
    // To open a pipe waits for its other end.
    if (!stats.isFile()) return undefined;
    const { size } = stats;
    if (size > maxBytes) throw new Fault("PACKAGE_INVALID", `${path} has ${size} bytes; ${maxBytes} are allowed. Make it smaller.`);
    return await readFile(file, { encoding: "utf8", signal });
  } catch (error) {
    if (ABSENT.has((error as NodeJS.ErrnoException).code ?? "")) return undefined;
    throw error;
  }
}

/** Of one folder. Its author reads a handful; each is stored with the image and sent in every answer about it. */
export const MAX_WARNINGS = 20;
const MAX_WARNING_CHARACTERS = 500;

/** At most `most` warnings, each cut to 500 characters; the last line counts those left out. */
export function capWarnings(warnings: readonly string[], most = MAX_WARNINGS): string[] {
  const kept = warnings
    .slice(0, most)
    .map((warning) => (warning.length > MAX_WARNING_CHARACTERS ? `${warning.slice(0, MAX_WARNING_CHARACTERS)}…` : warning));
  const left = warnings.length - kept.length;
  return left > 0 ? [...kept, `And ${left} more.`] : kept;
}
