import type { HeaderEdits, HeaderLine, WrittenLines } from "./decision.ts";
import { writeLines } from "./http1/write-lines.ts";

/** Lines that are made once for many requests, as for all of a caller. Throws if one is not a valid field. */
export class ConstantLines implements WrittenLines {
  readonly size: number;
  readonly #bytes: Uint8Array;
  readonly #lines: readonly HeaderLine[];

  constructor(lines: readonly HeaderLine[]) {
    this.#lines = lines;
    this.#bytes = Buffer.from(writeLines(lines), "latin1");
    this.size = this.#bytes.length;
  }

  put(out: Uint8Array, at: number): number {
    out.set(this.#bytes, at);
    return at + this.size;
  }

  lines(): readonly HeaderLine[] {
    return this.#lines;
  }
}

/** All lines that the edits append. */
export function addedLines({ add, written }: HeaderEdits): readonly HeaderLine[] {
  return written === undefined ? add : [...add, ...written.flatMap((each) => each.lines())];
}

/** Bytes of the written lines that the edits append. */
export function writtenSize({ written }: HeaderEdits): number {
  let size = 0;
  if (written !== undefined) for (const each of written) size += each.size;
  return size;
}

/** Writes them to `out`, which has so many bytes left at `at`. Returns the offset after them. */
export function putWritten(out: Uint8Array, at: number, { written }: HeaderEdits): number {
  let next = at;
  if (written !== undefined) for (const each of written) next = each.put(out, next);
  return next;
}
