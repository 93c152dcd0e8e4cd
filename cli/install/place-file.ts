import { mkdirSync } from "node:fs";
import { dirname } from "node:path";
import { Fault } from "../../lib/fault.ts";
import { type FileContent, replaceFile } from "../../lib/replace-file.ts";

/** Puts a file of an installation in its place, in one step. A program that runs goes on with the old one. Faults: PROGRAM_UNUSABLE. */
export function placeFile(path: string, content: FileContent, mode: number): void {
  try {
    mkdirSync(dirname(path), { recursive: true, mode: 0o755 });
    replaceFile(path, content, { mode });
  } catch (cause) {
    throw new Fault("PROGRAM_UNUSABLE", `${path} cannot be written: ${(cause as Error).message}.`, { cause });
  }
}
