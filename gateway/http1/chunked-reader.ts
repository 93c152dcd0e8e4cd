import { type BodyListener, type HeadParser, CODE, KIND } from "./head-parser.ts";
import { LF } from "./byte-tables.ts";
import { MessageRefused } from "./framing.ts";
import { PlainChunks } from "./plain-chunks.ts";

/** Limit of the bytes between two bytes of the body: chunk extensions and trailers have no other limit. */
const MAX_OVERHEAD_BYTES = 16_384;
/** Two readers could differ in a longer size. */
const MAX_SIZE_DIGITS = 16;

/** Behind the data of a chunk. */
const LINE_END_BYTES = 2;
const PRIMER = Buffer.from("POST / HTTP/1.1\r\nTransfer-Encoding:chunked\r\n\r\n", "latin1");

/** A pool of parsers: a reader owns one only within a body. */
export class ChunkParsers {
  readonly parser: HeadParser;
  readonly #free: number[] = [];
  readonly #primer: number;

  constructor(parser: HeadParser) {
    this.parser = parser;
    this.#primer = parser.llhttp.exports.malloc(PRIMER.length);
    PRIMER.copy(parser.llhttp.memory(), this.#primer);
  }

  /** A parser at the first byte of a chunked body. The coding is the same in requests and responses. */
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

/** Finds the ends of the chunked bodies of one connection. */
export class ChunkedReader implements BodyListener {
  readonly #parsers: ChunkParsers;
  readonly #rules: TrailerRules;
  readonly #scans: boolean;
  readonly #plain = new PlainChunks();
  /** The parser of a body that is not plain; 0: none. */
  #own = 0;
  #trailers: Trailers | undefined;
  /** Bytes since the last byte of the body. */
  #overhead = 0;
  /** Digits of the current chunk size; -1: outside a size. */
  #digits = 0;
  #size = 0;
  // Of the current call:
  #onData: ((start: number, end: number) => void) | undefined;
  #chunk: Buffer = PRIMER;
  #shift = 0;
  #checked = 0;
  #failure: { error: unknown } | undefined;

  /** `scans`: false to read all bodies with the parser. */
  constructor(parsers: ChunkParsers, rules: TrailerRules, scans: boolean) {
    this.#parsers = parsers;
    this.#rules = rules;
    this.#scans = scans;
  }

  read(chunk: Buffer, at: number, limit: number, onData?: (start: number, end: number) => void): number {
    let from = at;
    if (this.#own === 0) {
      if (this.#scans) from = this.#readPlain(chunk, at, limit, onData);
      if (this.#plain.over) {
        this.close();
        return from;
      }
      if (from === limit) return -1;
      this.#begin();
    }
    const { parser } = this.#parsers;
    const { llhttp, scratch, scratchBytes } = parser;
    this.#onData = onData;
    this.#chunk = chunk;
    parser.listen(this);
    try {
      while (from < limit) {
        const to = Math.min(limit, from + scratchBytes);
        chunk.copy(llhttp.memory(), scratch, from, to);
        this.#shift = from - scratch;
        this.#checked = from;
        const code = llhttp.exports.llhttp_execute(this.#own, scratch, to - from);
        if (this.#failure !== undefined) throw this.#failure.error;
        const end = code === CODE.ok ? to : llhttp.exports.llhttp_get_error_pos(this.#own) + this.#shift;
        this.#check(end);
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
      this.#failure = undefined;
      this.#onData = undefined;
      this.#chunk = PRIMER;
    }
  }

  /** All that was read ends with the end of a chunk. False too where the parser reads the body. */
  get isBetweenChunks(): boolean {
    return this.#own === 0 && this.#plain.isBetweenChunks;
  }

  close(): void {
    if (this.#own !== 0) this.#parsers.give(this.#own);
    this.#own = 0;
    this.#trailers = undefined;
    this.#plain.reset();
  }

  // An exception must not pass through frames of WebAssembly, which would keep their stack.

  body(at: number, length: number): void {
    if (this.#failure !== undefined) return;
    const start = at + this.#shift;
    try {
      this.#check(start);
      this.#checked = start + length;
      this.#overhead = 0;
      this.#digits = -1;
      if (length > 0) this.#onData?.(start, start + length);
    } catch (error) {
      this.#failure = { error };
    }
  }

  name(at: number, length: number): void {
    if (this.#failure !== undefined) return;
    const start = at + this.#shift;
    try {
      if (this.#trailers === undefined) {
        this.#check(start);
        this.#trailers = new Trailers(this.#rules);
      }
      this.#trailers.name(this.#chunk.toString("latin1", start, start + length));
    } catch (error) {
      this.#failure = { error };
    }
  }

  value(): void {
    this.#trailers?.value();
  }

  #readPlain(chunk: Buffer, at: number, limit: number, onData?: (start: number, end: number) => void): number {
    try {
      return this.#plain.read(chunk, at, limit, onData);
    } catch (error) {
      this.close();
      throw error;
    }
  }

  #begin(): void {
    this.#own = this.#parsers.take();
    this.#overhead = this.#plain.begun ? LINE_END_BYTES : 0;
    this.#digits = this.#size = 0;
  }

  /** Checks the bytes between chunks: llhttp accepts any number of leading zeros, and sizes up to 2^64. */
  #check(to: number): void {
    const chunk = this.#chunk;
    let digits = this.#digits;
    let size = this.#size;
    for (let at = this.#trailers === undefined ? this.#checked : to; at < to; at++) {
      const byte = chunk[at] ?? 0;
      const value = byte >= 48 && byte <= 57 ? byte - 48 : (byte | 32) >= 97 && (byte | 32) <= 102 ? (byte | 32) - 87 : -1;
      if (byte === LF) digits = size = 0;
      else if (value === -1) digits = -1;
      else if (digits !== -1) {
        size = size * 16 + value;
        if (++digits > MAX_SIZE_DIGITS || size > Number.MAX_SAFE_INTEGER) throw new MessageRefused(413, "The size of a chunk is too large");
      }
    }
    this.#digits = digits;
    this.#size = size;
    this.#overhead += to - this.#checked;
    this.#checked = to;
    if (this.#overhead > MAX_OVERHEAD_BYTES) throw new MessageRefused(431, "The chunk extensions and trailers are too long");
  }
}

export type TrailerRules = { lines: number; isForbidden(name: string): boolean };

/** Checks the names of a trailer section, which come in pieces. */
class Trailers {
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
    if (this.#rules.isForbidden(this.#name.toLowerCase().replaceAll("_", "-"))) throw new MessageRefused(400, "The body has a forbidden trailer");
    this.#name = "";
    this.#named = false;
  }
}
