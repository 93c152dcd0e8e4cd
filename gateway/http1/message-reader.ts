import { MAX_HEAD_BYTES } from "../limits.ts";
import { ChunkedReader, ChunkParsers, type TrailerRules } from "./chunked-reader.ts";
import { createHeadParser, type HeadParser, type ParsedHead } from "./head-parser.ts";
import { HOP_BY_HOP, knownNames, mayBeNamed, MessageRefused } from "./header-lines.ts";
import { RequestHead, ResponseHead } from "./message-heads.ts";

export { MessageRefused } from "./header-lines.ts";
export type { RequestHead, ResponseHead } from "./message-heads.ts";

type Http1Options = {
  /** `drop`: header lines of requests with an underscore in their name are ignored. */
  underscoreHeaders: "drop" | "pass";
  /** Of one head. */
  maxHeadBytes?: number;
  /** Of the head of a request; those of responses are limited by bytes only. */
  maxHeaderLines?: number;
};

/** Reads the messages in one direction of a connection. */
export type MessageReader<Head> = {
  /**
   * Reads on in bytes `at`..`end`. Returns the offset after the head if it is complete; `head` is it then. Returns -1 if more bytes are needed. Throws
   * MessageRefused, after which the connection must be closed.
   */
  readHead(memory: Buffer, at: number, end: number): number;
  /** The last complete head, a new object for each. Throws after `dropHead`, until the next is complete. */
  readonly head: Head;
  /** Releases the last head: else every idle connection would keep its text, with its credentials, in memory. */
  dropHead(): void;
  /** A head has begun and is not complete. */
  readonly begun: boolean;
  /**
   * Reads on in a chunked body. Returns the offset after its end, trailers included, or -1 if all bytes up to `end` belong to it. `onData` receives the
   * ranges of the body. Throws MessageRefused.
   */
  readChunked(memory: Buffer, at: number, end: number, onData?: (start: number, end: number) => void): number;
  /** Releases what is kept of an incomplete message. May be repeated. */
  close(): void;
};

export type RequestReader = MessageReader<RequestHead>;
export type ResponseReader = MessageReader<ResponseHead>;
export type Http1 = { requests(): RequestReader; responses(): ResponseReader };

/** Loads the parser once for a process: all readers share its memory. */
export function createHttp1({ underscoreHeaders, maxHeadBytes = MAX_HEAD_BYTES, maxHeaderLines = 200 }: Http1Options): Http1 {
  const parser = createHeadParser(maxHeadBytes);
  const chunkParsers = new ChunkParsers(parser);
  const names = knownNames();
  const ofRequests = { known: names, dropUnderscores: underscoreHeaders === "drop" };
  const ofResponses = { known: names, dropUnderscores: false };
  const requestRules: HeadRules<RequestHead> = {
    kind: "request",
    maxBytes: maxHeadBytes,
    maxLines: maxHeaderLines,
    emptyLines: 2,
    create: (parsed) => new RequestHead(parsed, ofRequests),
  };
  const responseRules: HeadRules<ResponseHead> = {
    kind: "response",
    maxBytes: maxHeadBytes,
    maxLines: Infinity,
    emptyLines: 0,
    create: (parsed) => new ResponseHead(parsed, ofResponses),
  };
  return {
    requests: () => new Reader(parser, requestRules, new ChunkedReader(chunkParsers, REQUEST_TRAILERS)),
    responses: () => new Reader(parser, responseRules, new ChunkedReader(chunkParsers, RESPONSE_TRAILERS)),
  };
}

/**
 * Many servers treat trailers as header lines. So trailers of requests must not contain what decisions depend on or what this proxy sets: the same names
 * that `Connection` must not contain. No trailer may describe the framing. Trailers of responses must not contain what a container must not set for the
 * whole origin, because a proxy in front might treat them as header lines.
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

type HeadRules<Head> = {
  kind: "request" | "response";
  maxBytes: number;
  maxLines: number;
  /** Empty lines that may precede a head (RFC 9112 §2.2 wants a server to ignore at least one). */
  emptyLines: number;
  create(parsed: ParsedHead): Head;
};

const CR = 13;
const LF = 10;
/** An incomplete head is parsed again with every piece up to this size, and beyond it after it has grown by a sixteenth. */
const ALWAYS_PARSED_BYTES = 2_048;

/**
 * Reads the messages of one connection. A head in several pieces is collected first and then parsed as a whole, so that the split cannot change the
 * result. Between heads a connection keeps no memory.
 */
class Reader<Head> implements MessageReader<Head> {
  readonly #parser: HeadParser;
  readonly #rules: HeadRules<Head>;
  readonly #bodies: ChunkedReader;
  #head: Head | undefined;
  #kept: Buffer | undefined;
  #size = 0;
  #parsedSize = 0;
  #emptyLines = 0;
  #afterCr = false;

  constructor(parser: HeadParser, rules: HeadRules<Head>, bodies: ChunkedReader) {
    this.#parser = parser;
    this.#rules = rules;
    this.#bodies = bodies;
  }

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

  readHead(memory: Buffer, at: number, end: number): number {
    if (this.#size > 0) return this.#readOn(memory, at, end);
    const from = this.#skipEmptyLines(memory, at, end);
    if (from === end) return -1;
    const { kind, maxBytes } = this.#rules;
    const to = Math.min(end, from + maxBytes);
    const parsed = this.#parser.parse(kind, memory, from, to);
    if (parsed !== undefined) return this.#complete(parsed);
    if (to - from === maxBytes) throw tooLong(memory, from, to);
    this.#keep(memory, from, to);
    this.#parsedSize = this.#size;
    return -1;
  }

  readChunked(memory: Buffer, at: number, end: number, onData?: (start: number, end: number) => void): number {
    return this.#bodies.read(memory, at, end, onData);
  }

  close(): void {
    this.#reset();
    this.#bodies.close();
  }

  #reset(): void {
    this.#kept = undefined;
    this.#size = 0;
    this.#afterCr = false;
  }

  #complete(parsed: ParsedHead): number {
    if (parsed.spans.length > this.#rules.maxLines * 3) throw new MessageRefused(431, "The head has too many lines");
    this.#head = this.#rules.create(parsed);
    this.#emptyLines = 0;
    return parsed.end;
  }

  #readOn(memory: Buffer, at: number, end: number): number {
    const before = this.#size;
    const { kind, maxBytes } = this.#rules;
    const kept = this.#keep(memory, at, Math.min(end, at + maxBytes - before));
    const ends = kept.subarray(0, this.#size).indexOf("\r\n\r\n", Math.max(0, before - 3), "latin1");
    if (ends === -1 && this.#size < maxBytes && this.#size > ALWAYS_PARSED_BYTES && this.#size < this.#parsedSize * 1.0625) return -1;
    this.#parsedSize = this.#size;
    const parsed = this.#parser.parse(kind, kept, 0, this.#size);
    if (parsed === undefined) {
      if (this.#size === maxBytes) throw tooLong(kept, 0, maxBytes);
      return -1;
    }
    this.#reset();
    return at + this.#complete(parsed) - before;
  }

  #keep(chunk: Buffer, from: number, to: number): Buffer {
    const size = this.#size + to - from;
    let kept = this.#kept;
    if (kept === undefined || kept.length < size) {
      // Not from Node's pool: an unfinished head would keep other bytes in memory.
      const larger = Buffer.allocUnsafeSlow(Math.min(this.#rules.maxBytes, Math.max(512, size * 2)));
      kept?.copy(larger, 0, 0, this.#size);
      this.#kept = kept = larger;
    }
    chunk.copy(kept, this.#size, from, to);
    this.#size = size;
    return kept;
  }

  /** llhttp would skip any number of empty lines, and bare line feeds. */
  #skipEmptyLines(memory: Buffer, at: number, end: number): number {
    let from = at;
    for (; from < end; from++) {
      const byte = memory[from];
      if (this.#afterCr ? byte !== LF : byte !== CR && byte !== LF) break;
      if (this.#afterCr) this.#emptyLines++;
      else if (byte === LF || this.#emptyLines === this.#rules.emptyLines) throw new MessageRefused(400, "There are empty lines before the head");
      this.#afterCr = !this.#afterCr;
    }
    if (this.#afterCr && from < end) throw new MessageRefused(400, "There is a bare carriage return before the head");
    return from;
  }
}

function tooLong(head: Buffer, from: number, to: number): MessageRefused {
  const line = head.subarray(from, to).indexOf(LF);
  return line === -1 ? new MessageRefused(414, "The request target is too long") : new MessageRefused(431, "The head is too long");
}
