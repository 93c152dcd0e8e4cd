import { POISON } from "./socket-layer.ts";

/** The buffer that all sockets share: each read is processed before the next begins. */
const SMALL_BYTES = 65_536;
/** A buffer of one socket with a long body. */
const LARGE_BYTES = 1_048_576;
/** Reads in a row that fill the small buffer, before a body counts as long: new memory costs more than reading a short body in pieces. */
const LONG_AFTER = 4;
const MAX_SPARE = 8;
/** Memory that is kept for later bodies, at most. */
export const MAX_SPARE_BYTES = MAX_SPARE * LARGE_BYTES;
/** Received chunks of their own up to this size are left to the garbage collector. */
const SMALL_CHUNK = 16_384;

/** Options of a socket of `node:net` that reads into the caller's memory. */
type OnRead = { buffer: () => Uint8Array; callback: (bytes: number) => boolean };

/** The memory that sockets of one layer read into. */
export class ReadBuffers {
  /** The buffer whose bytes are being processed, if it can be lent. */
  #current: Buffer | undefined;
  #lend: () => () => void = () => () => undefined;
  readonly #small: Buffer = Buffer.allocUnsafeSlow(SMALL_BYTES);
  readonly #spare: Buffer[] = [];
  readonly #poison: boolean;

  constructor({ poison }: { poison: boolean }) {
    this.#poison = poison;
  }

  /** `memory` is a buffer that can be lent. */
  lends(memory: Buffer): boolean {
    return this.#current === memory;
  }

  /** Reserves the buffer until the returned function is called, instead of using it again after the current event. */
  lend(): () => void {
    this.#current = undefined;
    return this.#lend();
  }

  /** For one socket. `deliver` gets its bytes. */
  into(deliver: (memory: Buffer, end: number) => void): OnRead {
    const small = this.#small;
    let current = small;
    let next: Buffer | undefined = small;
    /** Reads in a row that filled the small buffer. */
    let full = 0;
    const lend = () => {
      const lent = current;
      next = this.#take();
      return () => this.#giveBack(lent);
    };
    return {
      // Called before the first read and after each; undefined keeps the current buffer.
      buffer: () => {
        if (next === undefined) return undefined as unknown as Uint8Array;
        current = next;
        next = undefined;
        return current;
      },
      callback: (bytes) => {
        if (current === small) {
          deliver(current, bytes);
          if (this.#poison) current.fill(POISON, 0, bytes);
          full = bytes === SMALL_BYTES ? full + 1 : 0;
          if (full >= LONG_AFTER) next = this.#take();
          return true;
        }
        this.#deliver(current, bytes, lend, deliver);
        if (bytes < LARGE_BYTES) {
          // The body may be over, and an idle connection keeps no memory. If it is not, one full read returns to a large buffer.
          this.#giveBack(next ?? current);
          next = small;
          full = LONG_AFTER - 1;
        }
        return true;
      },
    };
  }

  /** Delivers a chunk that has no other owner, and then releases it: left to the garbage collector, it took half the processor time of an upload. */
  deliverOwn(chunk: Buffer, deliver: (memory: Buffer, end: number) => void): void {
    let lent = false;
    const lend = () => {
      lent = true;
      return () => releaseMemory(chunk);
    };
    this.#deliver(chunk, chunk.length, lend, deliver);
    if (!lent && chunk.length > SMALL_CHUNK) releaseMemory(chunk);
  }

  #deliver(memory: Buffer, end: number, lend: () => () => void, deliver: (memory: Buffer, end: number) => void): void {
    this.#current = memory;
    this.#lend = lend;
    deliver(memory, end);
    if (this.#poison && this.#current === memory) memory.fill(POISON, 0, end);
    this.#current = undefined;
  }

  #take(): Buffer {
    return this.#spare.pop() ?? Buffer.allocUnsafeSlow(LARGE_BYTES);
  }

  #giveBack(buffer: Buffer): void {
    if (this.#poison) buffer.fill(POISON);
    if (this.#spare.length < MAX_SPARE) this.#spare.push(buffer);
  }
}

/** Releases a chunk's memory if no other buffer shares it. */
function releaseMemory({ buffer, byteLength }: Buffer): void {
  if (buffer instanceof ArrayBuffer && buffer.byteLength === byteLength) buffer.transfer(0);
}
