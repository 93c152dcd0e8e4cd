import { OPCODE } from "./frames.ts";

/** Parts of a head still to come: its first byte, its second, or so many of its length. */
const FIRST = 0;
const SECOND = -1;

/**
 * Knows where in a server's stream of WebSocket frames one ends and the next has not begun: there, and only there, a frame of our own
 * may go in. It stands in the way of every message, so it looks at heads only, and makes nothing.
 */
export class FrameBoundary {
  /** A close frame has begun: nothing may follow it. */
  closing = false;
  /** These are no frames, or none that a server sends. */
  broken = false;
  /** Payload bytes of the present frame that are still to come. */
  #left = 0;
  /** Where in a head that came in pieces: `FIRST`, `SECOND`, or how many bytes of its length are missing. */
  #part = FIRST;
  #first = 0;
  #length = 0;

  /** True where a frame of our own may go in. */
  get open(): boolean {
    return this.#left === 0 && this.#part === FIRST && !this.closing && !this.broken;
  }

  /** The next bytes of the stream pass. */
  pass(chunk: Buffer): void {
    const end = chunk.length;
    let at = this.#left;
    if (at >= end) {
      this.#left = at - end;
      return;
    }
    this.#left = 0;
    while (at < end) {
      const short = this.#part === FIRST && at + 1 < end ? (chunk[at + 1] as number) : 255;
      if (short < 126) {
        this.#begin(chunk[at] as number, short);
        at += 2;
      } else {
        this.#passHeadByte(chunk[at] as number);
        at++;
        if (this.#part !== FIRST) continue;
      }
      if (this.broken) return;
      const left = this.#left;
      if (left > end - at) {
        this.#left = left - (end - at);
        return;
      }
      at += left;
      this.#left = 0;
    }
  }

  #begin(first: number, length: number): void {
    const opcode = first & 0x0f;
    if (opcode === OPCODE.close) this.closing = true;
    // Of the bits that extensions use, nobody here needs to know; of opcodes that do not exist, nobody can say what follows them.
    if ((opcode & 7) > 2 || (opcode >= OPCODE.close && (length > 125 || first < 0x80)) || length > Number.MAX_SAFE_INTEGER) this.broken = true;
    this.#left = length;
  }

  #passHeadByte(byte: number): void {
    if (this.#part === FIRST) {
      this.#first = byte;
      this.#part = SECOND;
    } else if (this.#part === SECOND) {
      this.#part = byte === 126 ? 2 : byte === 127 ? 8 : FIRST;
      this.#length = 0;
      if (byte >= 0x80) this.broken = true;
      else if (this.#part === FIRST) this.#begin(this.#first, byte);
    } else {
      this.#length = this.#length * 256 + byte;
      this.#part--;
      if (this.#part === FIRST) this.#begin(this.#first, this.#length);
    }
  }
}
