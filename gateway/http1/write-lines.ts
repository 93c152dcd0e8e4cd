import type { HeaderLine, HeaderEdits, WrittenLines } from "../decision.ts";
import { COLON, CR, FIELD, LF, SPACE, TARGET, TOKEN } from "./byte-tables.ts";

/**
 * Writes lines behind a head's. A line that is not a valid field throws, which is a bug: it could become a second line, or another message. `out` has at
 * least `linesSize` bytes left. Returns the offset after them.
 */
export function putLines(out: Uint8Array, at: number, lines: readonly HeaderLine[]): number {
  let next = at;
  for (const line of lines) {
    const name = line[0];
    if (name === "") throw unfit(name);
    next = putChecked(out, next, name, TOKEN, name);
    out[next++] = COLON;
    out[next++] = SPACE;
    next = putChecked(out, next, line[1], FIELD, name);
    out[next++] = CR;
    out[next++] = LF;
  }
  return next;
}

/** In bytes. */
export function linesSize(lines: readonly HeaderLine[]): number {
  let size = 0;
  for (const line of lines) size += line[0].length + line[1].length + 4;
  return size;
}

/** Writes a request target, or throws for the same reason. */
export function putTarget(out: Uint8Array, at: number, target: string): number {
  if (target === "") throw new Error("The request target cannot be written");
  return putChecked(out, at, target, TARGET, undefined);
}

/** Writes text that is known to be latin1 and a whole number of lines. */
export function putText(out: Uint8Array, at: number, text: string): number {
  for (let index = 0; index < text.length; index++) out[at + index] = text.charCodeAt(index);
  return at + text.length;
}

/** `name`: of the line, for the error; undefined for a target. */
function putChecked(out: Uint8Array, at: number, text: string, allowed: Uint8Array, name: string | undefined): number {
  const { length } = text;
  for (let index = 0; index < length; index++) {
    const code = text.charCodeAt(index);
    // Of a character beyond latin1 only the low byte would be sent, which may be a line feed.
    if (code > 255 || allowed[code] === 0) throw unfit(name);
    out[at + index] = code;
  }
  return at + length;
}

/** The value may be a secret. */
function unfit(name: string | undefined): Error {
  return new Error(name === undefined ? "The request target cannot be written" : `A header line cannot be written: ${JSON.stringify(name)}`);
}

/** The same as text. */
export function writeLines(lines: readonly HeaderLine[]): string {
  const out = Buffer.allocUnsafe(linesSize(lines));
  return out.toString("latin1", 0, putLines(out, 0, lines));
}

/** Returns the target, or throws if it cannot be written. */
export function writeTarget(target: string): string {
  putTarget(Buffer.allocUnsafe(target.length), 0, target);
  return target;
}

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

/** A shorter range costs less byte by byte than by a call. */
const SHORT_BYTES = 32;

export function putRange(from: Buffer, start: number, end: number, out: Buffer, at: number): number {
  const length = end - start;
  if (length > SHORT_BYTES) from.copy(out, at, start, end);
  else for (let index = 0; index < length; index++) out[at + index] = from[start + index] as number;
  return at + length;
}

/** Copies all of `bytes`. */
export function putBytes(out: Buffer, at: number, bytes: Buffer): number {
  return putRange(bytes, 0, bytes.length, out, at);
}
