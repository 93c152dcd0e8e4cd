import { readFile, stat } from "node:fs/promises";
import { Fault } from "../../../lib/fault.ts";

/** Far beyond what people write by hand, and little enough to be read, kept in a row and told in lists. */
export const LONGEST_TEXT_BYTES = 131_072;

const ABSENT = new Set(["ENOENT", "ENOTDIR", "EISDIR"]);

/** A file that an author wrote; undefined where there is none. `path` is its name in the package. Faults: PACKAGE_INVALID for one that is too long. */
export async function readText(file: string, path: string, signal: AbortSignal, maxBytes = LONGEST_TEXT_BYTES): Promise<string | undefined> {
  try {
    const { size } = await stat(file);
    if (size > maxBytes) throw new Fault("PACKAGE_INVALID", `${path} has ${size} bytes; ${maxBytes} are allowed. Make it smaller.`);
    return await readFile(file, { encoding: "utf8", signal });
  } catch (error) {
    if (ABSENT.has((error as NodeJS.ErrnoException).code ?? "")) return undefined;
    throw error;
  }
}
