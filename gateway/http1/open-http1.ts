import { mayBeNamed, HOP_BY_HOP, knownNames, MessageRefused } from "./header-lines.ts";
import { MAX_HEAD_BYTES } from "../limits.ts";
import { ChunkedReader, ChunkParsers, type TrailerRules } from "./chunked-reader.ts";
import { openHeadParser, type HeadParser, type ParsedHead } from "./head-parser.ts";
import { RequestHead, ResponseHead } from "./message-heads.ts";

export { MessageRefused } from "./header-lines.ts";
export type { RequestHead } from "./message-heads.ts";
export type { ResponseHead } from "./message-heads.ts";

export type Http1Options = {
  /** `drop`: a request's header lines whose name has an underscore are taken for not there. */
  underscoreHeaders: "drop" | "pass";
  /** Of one head. */
  maxHeadBytes?: number;
  /** Of a request's head; a response may have as many as fit. */
  maxHeaderLines?: number;
};

/** Reads the messages of one connection's one direction. */
export type MessageReader<Head> = {
  /**
   * Reads on in `chunk` from `at`: the offset behind the head once it is complete, and `head` is it then, or -1 where all was taken
   * and more is needed. Throws MessageRefused, after which the connection can only be closed.
   */
  readHead(chunk: Buffer, at: number): number;
  /** Of the last message whose head is complete; a new object for each. Throws after `dropHead`, until the next one is complete. */
  readonly head: Head;
  /** Keeps the last head no longer: of many idle connections, each would keep the text of one, credentials among it. */
  dropHead(): void;
  /** A head has begun and is not complete. */
  readonly begun: boolean;
  /**
   * Reads on in a chunked body: the offset behind its end, trailers included, or -1 where all of `chunk` belongs to it. `onData` is
   * told where in `chunk` the body itself is. Throws MessageRefused.
   */
  readChunked(chunk: Buffer, at: number, onData?: (start: number, end: number) => void): number;
  /** Gives back what is held of a message that is not complete. May be repeated. */
  close(): void;
};

export type RequestReader = MessageReader<RequestHead>;
export type ResponseReader = MessageReader<ResponseHead>;
export type Http1 = { requests(): RequestReader; responses(): ResponseReader };

/** Loads the parser, once per process: everything that this opens shares its memory. */
export function openHttp1({ underscoreHeaders, maxHeadBytes = MAX_HEAD_BYTES, maxHeaderLines = 200 }: Http1Options): Http1 {
  const parser = openHeadParser(maxHeadBytes);
  const chunkParsers = new ChunkParsers(parser);
  const known = knownNames();
  const ofRequests = { known, dropUnderscores: underscoreHeaders === "drop" };
  const ofResponses = { known, dropUnderscores: false };
  const requestRules: HeadRules<RequestHead> = {
    kind: "request",
    limits: { bytes: maxHeadBytes, lines: maxHeaderLines },
    emptyLines: 2,
    make: (parsed) => new RequestHead(parsed, ofRequests),
  };
  const responseRules: HeadRules<ResponseHead> = {
    kind: "response",
    limits: { bytes: maxHeadBytes, lines: Infinity },
    emptyLines: 0,
    make: (parsed) => new ResponseHead(parsed, ofResponses),
  };
  return {
    requests: () => new Reader(new HeadReader(parser, requestRules), new ChunkedReader(chunkParsers, REQUEST_TRAILERS)),
    responses: () => new Reader(new HeadReader(parser, responseRules), new ChunkedReader(chunkParsers, RESPONSE_TRAILERS)),
  };
}

/**
 * Many servers take trailers for header lines. So a request's may say nothing that a decision was made on or that this proxy
 * vouches for, which is what `Connection` may not name either; and none describes where a message ends. What a container may not set for the whole
 * origin in its head, it may not say in a trailer either: a proxy in front might take that for a header line.
 */
const REQUEST_TRAILERS: TrailerRules = { lines: 200, isForbidden: (name) => HOP_BY_HOP.has(name) || !mayBeNamed(name) };
const NO_RESPONSE_TRAILERS: ReadonlySet<string> = new Set([
  "content-length",
  "transfer-encoding",
  "host",
  "service-worker-allowed",
  "clear-site-data",
  "set-cookie",
]);
const RESPONSE_TRAILERS: TrailerRules = {
  lines: Infinity,
  isForbidden: (name) => HOP_BY_HOP.has(name) || NO_RESPONSE_TRAILERS.has(name),
};

class Reader<Head> implements MessageReader<Head> {
  readonly #heads: HeadReader<Head>;
  readonly #bodies: ChunkedReader;

  constructor(heads: HeadReader<Head>, bodies: ChunkedReader) {
    this.#heads = heads;
    this.#bodies = bodies;
  }

  get head(): Head {
    return this.#heads.head;
  }

  dropHead(): void {
    this.#heads.dropHead();
  }

  get begun(): boolean {
    return this.#heads.begun;
  }

  readHead(chunk: Buffer, at: number): number {
    return this.#heads.readHead(chunk, at);
  }

  readChunked(chunk: Buffer, at: number, onData?: (start: number, end: number) => void): number {
    return this.#bodies.read(chunk, at, onData);
  }

  close(): void {
    this.#heads.close();
    this.#bodies.close();
  }
}

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
