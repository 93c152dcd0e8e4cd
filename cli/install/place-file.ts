import { randomUUID } from "node:crypto";
import { chmodSync, closeSync, copyFileSync, fsyncSync, mkdirSync, openSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { Fault } from "../../lib/fault.ts";

/** What a file is to be: a text, or the content of another file. */
export type Content = { text: string } | { copyOf: string };

/**
 * Puts a file in its place in one step, on the disk when it returns: a reader sees either the old or the new file. A program that
 * runs goes on with its own. Faults: PROGRAM_UNUSABLE.
 */
export function placeFile(path: string, content: Content, mode: number): void {
  const aside = `${path}.${randomUUID()}`;
  try {
    mkdirSync(dirname(path), { recursive: true, mode: 0o755 });
    if ("text" in content) writeFileSync(aside, content.text, { mode: 0o600 });
    else copyFileSync(content.copyOf, aside);
    chmodSync(aside, mode);
    flush(aside);
    renameSync(aside, path);
    flush(dirname(path));
  } catch (error) {
    rmSync(aside, { force: true });
    throw new Fault("PROGRAM_UNUSABLE", `${path} cannot be written: ${(error as Error).message}.`, { cause: error });
  }
}

function flush(path: string): void {
  const open = openSync(path, "r");
  try {
    fsyncSync(open);
  } finally {
    closeSync(open);
  }
}
