import { CR, LF, ZERO } from "./byte-tables.ts";
import { MessageRefused } from "./framing.ts";

/** Longer sizes are for the parser. */
const MAX_DIGITS = 8;
/** Of a chunk's data. */
const LINE_END = 2;
/** The value of a hexadecimal digit, or 255. */
const HEX = Uint8Array.from({ length: 256 }, (_, byte) => {
  const text = String.fromCharCode(byte);
  return /[\da-fA-F]/.test(text) ? Number.parseInt(text, 16) : 255;
});

/**
 * Reads chunks without extensions and zeros in front, up to an end without trailers: nearly all bodies. Whatever else begins at the size of a chunk is for
 * the parser, which reads the rest of the body from there.
 */
export class PlainChunks {
  /** The whole body was read. */
  over = false;
  /** A chunk was read: the bytes before the next one are the end of its line. */
  begun = false;
  /** Bytes of the current chunk that have not come, its line end included. */
  #left = 0;

  /** Returns the offset after what it has read. Before `limit`, and not `over`: the parser goes on from there. Throws MessageRefused. */
  read(memory: Buffer, from: number, limit: number, onData?: (start: number, end: number) => void): number {
    let at = from;
    for (;;) {
      if (this.#left > 0) {
        at = this.#readData(memory, at, limit, onData);
        if (this.#left > 0) return at;
      }
      const lineEnd = sizeEnd(memory, at, limit);
      if (lineEnd === -1) return at;
      const size = sizeIn(memory, at, lineEnd);
      if (size === 0) {
        if (!isLineEnd(memory, lineEnd + LINE_END, limit)) return at;
        this.over = true;
        return lineEnd + 2 * LINE_END;
      }
      at = lineEnd + LINE_END;
      this.#left = size + LINE_END;
      this.begun = true;
    }
  }

  /** What was read ends with the end of a chunk, or nothing was read. */
  get isBetweenChunks(): boolean {
    return this.#left === 0 && !this.over;
  }

  reset(): void {
    this.over = false;
    this.begun = false;
    this.#left = 0;
  }

  #readData(memory: Buffer, from: number, limit: number, onData?: (start: number, end: number) => void): number {
    let at = from;
    const length = Math.min(this.#left - LINE_END, limit - at);
    if (length > 0) {
      at += length;
      this.#left -= length;
      onData?.(from, at);
    }
    for (; at < limit && this.#left > 0 && this.#left <= LINE_END; at++) {
      if (memory[at] !== (this.#left === LINE_END ? CR : LF))
        throw new MessageRefused(400, "The chunked body is malformed: a chunk is longer than its size");
      this.#left--;
    }
    return at;
  }
}

/** The offset after the digits of a plain size whose line is complete, or -1. */
export function sizeEnd(memory: Buffer, from: number, limit: number): number {
  let at = from;
  while (at < limit && HEX[memory[at] as number] !== 255) at++;
  const digits = at - from;
  if (digits === 0 || digits > MAX_DIGITS || (digits > 1 && memory[from] === ZERO)) return -1;
  return isLineEnd(memory, at, limit) ? at : -1;
}

/** The size that these digits are. */
export function sizeIn(memory: Buffer, from: number, end: number): number {
  let size = 0;
  for (let digit = from; digit < end; digit++) size = size * 16 + (HEX[memory[digit] as number] as number);
  return size;
}

function isLineEnd(memory: Buffer, at: number, limit: number): boolean {
  return limit - at >= LINE_END && memory[at] === CR && memory[at + 1] === LF;
}
