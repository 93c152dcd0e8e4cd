import type { HeadParser, ParsedHead } from "./head-parser.ts";
import { MessageRefused } from "./framing.ts";

export type HeadLimits = { bytes: number; lines: number };

export type HeadRules<Head> = {
  kind: "request" | "response";
  limits: HeadLimits;
  /** Empty lines that may come before a head (RFC 9112 §2.2 wants a server to pass over at least one). */
  emptyLines: number;
  make(parsed: ParsedHead): Head;
};

const CR = 13;
const LF = 10;
/** A head that has begun is looked at again with every piece up to this size, and beyond it once it has grown by a sixteenth. */
const LOOKED_AT_ALWAYS = 2_048;

/**
 * Reads the heads of one connection. One that comes in pieces is put together first and then read as one that came whole, so that
 * how it was cut cannot matter; between heads a connection keeps nothing.
 */
export class HeadReader<Head> {
  readonly #parser: HeadParser;
  readonly #rules: HeadRules<Head>;
  #head: Head | undefined;
  #held: Buffer | undefined;
  #size = 0;
  #lookedAt = 0;
  #emptyLines = 0;
  #afterCr = false;

  constructor(parser: HeadParser, rules: HeadRules<Head>) {
    this.#parser = parser;
    this.#rules = rules;
  }

  /** Of the last message whose head is complete. */
  get head(): Head {
    if (this.#head === undefined) throw new Error("No head has been read yet");
    return this.#head;
  }

  dropHead(): void {
    this.#head = undefined;
  }

  get begun(): boolean {
    return this.#size > 0 || this.#afterCr;
  }

  readHead(chunk: Buffer, at: number): number {
    if (this.#size > 0) return this.#readOn(chunk, at);
    const from = this.#skipEmptyLines(chunk, at);
    if (from === chunk.length) return -1;
    const { bytes } = this.#rules.limits;
    const to = Math.min(chunk.length, from + bytes);
    const parsed = this.#parser.parse(this.#rules.kind, chunk, from, to);
    if (parsed !== undefined) return this.#complete(parsed);
    if (to - from === bytes) throw tooLong(chunk, from, to);
    this.#hold(chunk, from, to);
    this.#lookedAt = this.#size;
    return -1;
  }

  close(): void {
    this.#held = undefined;
    this.#size = 0;
    this.#afterCr = false;
  }

  #complete(parsed: ParsedHead): number {
    if (parsed.spans.length > this.#rules.limits.lines * 3) throw new MessageRefused(431, "The head has too many lines");
    this.#head = this.#rules.make(parsed);
    this.#emptyLines = 0;
    return parsed.end;
  }

  #readOn(chunk: Buffer, at: number): number {
    const before = this.#size;
    const { bytes } = this.#rules.limits;
    const held = this.#hold(chunk, at, Math.min(chunk.length, at + bytes - before));
    const ends = held.subarray(0, this.#size).indexOf("\r\n\r\n", Math.max(0, before - 3), "latin1");
    if (ends === -1 && this.#size < bytes && this.#size > LOOKED_AT_ALWAYS && this.#size < this.#lookedAt * 1.0625) return -1;
    this.#lookedAt = this.#size;
    const parsed = this.#parser.parse(this.#rules.kind, held, 0, this.#size);
    if (parsed === undefined) {
      if (this.#size === bytes) throw tooLong(held, 0, bytes);
      return -1;
    }
    this.close();
    return at + this.#complete(parsed) - before;
  }

  #hold(chunk: Buffer, from: number, to: number): Buffer {
    const size = this.#size + to - from;
    let held = this.#held;
    if (held === undefined || held.length < size) {
      // Not from Node's pool: a head that never ends must not keep other bytes alive.
      const larger = Buffer.allocUnsafeSlow(Math.min(this.#rules.limits.bytes, Math.max(512, size * 2)));
      held?.copy(larger, 0, 0, this.#size);
      this.#held = held = larger;
    }
    chunk.copy(held, this.#size, from, to);
    this.#size = size;
    return held;
  }

  /** The parser would pass over any number of them, and over bare line feeds. */
  #skipEmptyLines(chunk: Buffer, at: number): number {
    let from = at;
    for (; from < chunk.length; from++) {
      const byte = chunk[from];
      if (this.#afterCr ? byte !== LF : byte !== CR && byte !== LF) break;
      if (this.#afterCr) this.#emptyLines++;
      else if (byte === LF || this.#emptyLines === this.#rules.emptyLines) throw new MessageRefused(400, "There are empty lines before the head");
      this.#afterCr = !this.#afterCr;
    }
    if (this.#afterCr && from < chunk.length) throw new MessageRefused(400, "There is a bare carriage return before the head");
    return from;
  }
}

function tooLong(head: Buffer, from: number, to: number): MessageRefused {
  const line = head.subarray(from, to).indexOf(LF);
  return line === -1 ? new MessageRefused(414, "The request target is too long") : new MessageRefused(431, "The head is too long");
}
