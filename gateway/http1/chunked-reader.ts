import { type BodyListener, type HeadParser, CODE, KIND } from "./head-parser.ts";
import { MessageRefused } from "./header-lines.ts";

/** What says how the chunks of a body lie may be this long without a byte of the body: chunk extensions and trailers have no other limit. */
const MAX_OVERHEAD_BYTES = 16_384;
/** A size beyond 16 digits is larger than any body can be, or an attempt to have it read in two ways. */
const MAX_SIZE_DIGITS = 16;

const LF = 10;
const PRIMER = Buffer.from("POST / HTTP/1.1\r\nTransfer-Encoding:chunked\r\n\r\n", "latin1");

/** Parsers for chunked bodies: one is owned only while a body is in between. */
export class ChunkParsers {
  readonly parser: HeadParser;
  readonly #free: number[] = [];
  readonly #primer: number;

  constructor(parser: HeadParser) {
    this.parser = parser;
    this.#primer = parser.llhttp.exports.malloc(PRIMER.length);
    PRIMER.copy(parser.llhttp.memory(), this.#primer);
  }

  /** One that stands at the first byte of a chunked body; the coding is the same in requests and responses. */
  take(): number {
    const { exports } = this.parser.llhttp;
    const taken = this.#free.pop() ?? exports.llhttp_alloc(KIND.request);
    exports.llhttp_reset(taken);
    this.parser.listen(IGNORE);
    exports.llhttp_execute(taken, this.#primer, PRIMER.length);
    this.parser.listen(undefined);
    return taken;
  }

  give(taken: number): void {
    if (this.#free.length < 256) this.#free.push(taken);
    else this.parser.llhttp.exports.llhttp_free(taken);
  }
}

const IGNORE: BodyListener = { name: () => undefined, value: () => undefined, body: () => undefined };

/** Reads the chunked bodies of one connection, to find where they end. */
export class ChunkedReader implements BodyListener {
  readonly #parsers: ChunkParsers;
  readonly #rules: TrailerRules;
  #own = 0;
  #trailers: Trailers | undefined;
  /** Bytes since the last byte of the body that were none of it. */
  #overhead = 0;
  /** Of the size that is being read; -1 where none is. */
  #digits = 0;
  #size = 0;
  // Of the run:
  #onData: ((start: number, end: number) => void) | undefined;
  #chunk: Buffer = PRIMER;
  #shift = 0;
  #seen = 0;
  #thrown: { error: unknown } | undefined;

  constructor(parsers: ChunkParsers, rules: TrailerRules) {
    this.#parsers = parsers;
    this.#rules = rules;
  }

  read(chunk: Buffer, at: number, onData?: (start: number, end: number) => void): number {
    if (this.#own === 0) this.#begin();
    const { parser } = this.#parsers;
    const { llhttp, scratch, scratchBytes } = parser;
    this.#onData = onData;
    this.#chunk = chunk;
    parser.listen(this);
    try {
      for (let from = at; from < chunk.length;) {
        const to = Math.min(chunk.length, from + scratchBytes);
        chunk.copy(llhttp.memory(), scratch, from, to);
        this.#shift = from - scratch;
        this.#seen = from;
        const code = llhttp.exports.llhttp_execute(this.#own, scratch, to - from);
        if (this.#thrown !== undefined) throw this.#thrown.error;
        const end = code === CODE.ok ? to : llhttp.exports.llhttp_get_error_pos(this.#own) + this.#shift;
        this.#walk(end);
        if (code !== CODE.ok && code !== CODE.paused) throw new MessageRefused(400, `The chunked body is malformed: ${llhttp.reason(this.#own)}`);
        if (code === CODE.paused) {
          this.#trailers?.end();
          this.close();
          return end;
        }
        from = to;
      }
      return -1;
    } catch (error) {
      this.close();
      throw error;
    } finally {
      parser.listen(undefined);
      this.#thrown = undefined;
      this.#onData = undefined;
      this.#chunk = PRIMER;
    }
  }

  close(): void {
    if (this.#own !== 0) this.#parsers.give(this.#own);
    this.#own = 0;
    this.#trailers = undefined;
  }

  // What is thrown through WebAssembly's own frames would leave its stack where it was.

  body(at: number, length: number): void {
    if (this.#thrown !== undefined) return;
    const start = at + this.#shift;
    try {
      this.#walk(start);
      this.#seen = start + length;
      this.#overhead = 0;
      this.#digits = -1;
      if (length > 0) this.#onData?.(start, start + length);
    } catch (error) {
      this.#thrown = { error };
    }
  }

  name(at: number, length: number): void {
    if (this.#thrown !== undefined) return;
    const start = at + this.#shift;
    try {
      if (this.#trailers === undefined) {
        this.#walk(start);
        this.#trailers = new Trailers(this.#rules);
      }
      this.#trailers.name(this.#chunk.toString("latin1", start, start + length));
    } catch (error) {
      this.#thrown = { error };
    }
  }

  value(): void {
    this.#trailers?.value();
  }

  #begin(): void {
    this.#own = this.#parsers.take();
    this.#overhead = 0;
    this.#digits = this.#size = 0;
  }

  /** Looks at what is between chunks: the parser takes any number of leading zeros, and sizes up to 2^64. */
  #walk(to: number): void {
    const chunk = this.#chunk;
    let digits = this.#digits;
    let size = this.#size;
    for (let at = this.#trailers === undefined ? this.#seen : to; at < to; at++) {
      const byte = chunk[at] ?? 0;
      const value = byte >= 48 && byte <= 57 ? byte - 48 : (byte | 32) >= 97 && (byte | 32) <= 102 ? (byte | 32) - 87 : -1;
      if (byte === LF) digits = size = 0;
      else if (value === -1) digits = -1;
      else if (digits !== -1) {
        size = size * 16 + value;
        if (++digits > MAX_SIZE_DIGITS || size > Number.MAX_SAFE_INTEGER)
          throw new MessageRefused(413, "The size of a chunk is larger than any body can be");
      }
    }
    this.#digits = digits;
    this.#size = size;
    this.#overhead += to - this.#seen;
    this.#seen = to;
    if (this.#overhead > MAX_OVERHEAD_BYTES) throw new MessageRefused(431, "The chunks of the body have too much between them");
  }
}

export type TrailerRules = { lines: number; isForbidden(name: string): boolean };

/** Looks at the names in a trailer section, which come in pieces. */
export class Trailers {
  readonly #rules: TrailerRules;
  #lines = 0;
  #name = "";
  #named = false;

  constructor(rules: TrailerRules) {
    this.#rules = rules;
  }

  name(piece: string): void {
    if (this.#named) this.#check();
    this.#name += piece;
  }

  value(): void {
    this.#named = true;
  }

  end(): void {
    this.#check();
  }

  #check(): void {
    if (this.#name === "") return;
    if (++this.#lines > this.#rules.lines) throw new MessageRefused(431, "The body has too many trailers");
    if (this.#rules.isForbidden(this.#name.toLowerCase().replaceAll("_", "-")))
      throw new MessageRefused(400, "The body has a trailer that may not be one");
    this.#name = "";
    this.#named = false;
  }
}
