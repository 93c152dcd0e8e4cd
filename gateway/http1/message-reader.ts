import { MAX_HEAD_BYTES } from "../limits.ts";
import { CR, LF } from "./byte-tables.ts";
import { ChunkedReader, ChunkParsers, type TrailerRules } from "./chunked-reader.ts";
import { createHeadParser } from "./head-parser.ts";
import { HeadScan } from "./head-scan.ts";
import { type HeadSource, RequestSource, ResponseSource } from "./head-source.ts";
import { HOP_BY_HOP, mayBeNamed } from "./header-lines.ts";
import type { HeaderBlock } from "./header-block.ts";
import { RequestHead, ResponseHead } from "./message-heads.ts";
import { MessageRefused } from "./framing.ts";

export { MessageRefused } from "./framing.ts";
export type { RequestHead, ResponseHead } from "./message-heads.ts";

type Http1Options = {
  /** `drop`: header lines of requests with an underscore in their name are ignored. */
  underscoreHeaders: "drop" | "pass";
  /** Of one head. */
  maxHeadBytes?: number;
  /** Of the head of a request; those of responses are limited by bytes only. */
  maxHeaderLines?: number;
  scans?: boolean;
};

/** Reads the messages in one direction of a connection. */
export type MessageReader<Head> = {
  /**
   * Reads on in bytes `at`..`end`. Returns the offset after the head if it is complete; `head` is it then, and refers to `memory` until it is kept. Returns -1 if more bytes are needed. Throws MessageRefused, after which the connection must be closed.
   */
  readHead(memory: Buffer, at: number, end: number): number;
  /** The last complete head, a new object for each. Throws after `dropHead`, until the next is complete. */
  readonly head: Head;
  /** The memory of the last head is about to be used for other bytes: unless it was kept, only its plain fields stay valid. */
  expireHead(): void;
  /** The same, and releases it: else every idle connection would keep its text, with its credentials, in memory. */
  dropHead(): void;
  /** A head has begun and is not complete. */
  readonly begun: boolean;
  /**
   * Reads on in a chunked body. Returns the offset after its end, trailers included, or -1 if all bytes up to `end` belong to it. `onData` receives the ranges
   * of the body. Throws MessageRefused.
   */
  readChunked(memory: Buffer, at: number, end: number, onData?: (start: number, end: number) => void): number;
  /** Within a chunked body: the next byte is the size of a chunk. It may be false there too. */
  readonly isBetweenChunks: boolean;
  /** Releases what is kept of an incomplete message. May be repeated. */
  close(): void;
};

export type RequestReader = MessageReader<RequestHead>;
export type ResponseReader = MessageReader<ResponseHead>;
export type Http1 = { requests(): RequestReader; responses(): ResponseReader };

/** Loads the parser once for a process: all readers share its memory. `scans`: false to read everything with the parser. */
export function createHttp1({ underscoreHeaders, maxHeadBytes = MAX_HEAD_BYTES, maxHeaderLines = 200, scans = true }: Http1Options): Http1 {
  const parser = createHeadParser(maxHeadBytes);
  const chunkParsers = new ChunkParsers(parser);
  const scan = new HeadScan();
  const dropUnderscores = underscoreHeaders === "drop";
  const requestRules: HeadRules<RequestHead> = {
    source: new RequestSource({ parser, scan, maxLines: maxHeaderLines }, { dropUnderscores, scans }),
    maxBytes: maxHeadBytes,
    emptyLines: 2,
    create: (source, memory, at) => new RequestHead(source, memory, at),
    createChunked: () => new ChunkedReader(chunkParsers, REQUEST_TRAILERS, scans),
  };
  const responseRules: HeadRules<ResponseHead> = {
    source: new ResponseSource({ parser, scan, maxLines: Infinity }, { scans }),
    maxBytes: maxHeadBytes,
    emptyLines: 0,
    create: (source, memory, at) => new ResponseHead(source, memory, at),
    createChunked: () => new ChunkedReader(chunkParsers, RESPONSE_TRAILERS, scans),
  };
  return {
    requests: () => new Reader(requestRules),
    responses: () => new Reader(responseRules),
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
  "nel",
  "strict-transport-security",
  "set-cookie",
]);
const RESPONSE_TRAILERS: TrailerRules = {
  lines: Infinity,
  isForbidden: (name) => HOP_BY_HOP.has(name) || NO_RESPONSE_TRAILERS.has(name),
};

type HeadRules<Head> = {
  source: HeadSource;
  maxBytes: number;
  /** Empty lines that may precede a head (RFC 9112 §2.2 wants a server to ignore at least one). */
  emptyLines: number;
  create(source: HeadSource, memory: Buffer, at: number): Head;
  createChunked(): ChunkedReader;
};

/** An incomplete head is parsed again with every piece up to this size, and beyond it after it has grown by a sixteenth. */
const ALWAYS_PARSED_BYTES = 2_048;

/**
 * Reads the messages of one connection. A head in several pieces is collected first and then parsed as a whole, so that the split cannot change the
 * result. Between heads a connection keeps no memory.
 */
class Reader<Head extends Pick<HeaderBlock, "expire">> implements MessageReader<Head> {
  readonly #rules: HeadRules<Head>;
  /** Created for the first chunked body: most connections have none. */
  #bodies: ChunkedReader | undefined;
  #head: Head | undefined;
  #kept: Buffer | undefined;
  #size = 0;
  #parsedSize = 0;
  #emptyLines = 0;
  #afterCr = false;

  constructor(rules: HeadRules<Head>) {
    this.#rules = rules;
  }

  get head(): Head {
    if (this.#head === undefined) throw new Error("No head has been read yet");
    return this.#head;
  }

  expireHead(): void {
    this.#head?.expire();
  }

  dropHead(): void {
    this.#head?.expire();
    this.#head = undefined;
  }

  get begun(): boolean {
    return this.#size > 0 || this.#afterCr;
  }

  readHead(memory: Buffer, at: number, end: number): number {
    if (this.#size > 0) return this.#readOn(memory, at, end);
    const first = memory[at] as number;
    const from = this.#afterCr || first === CR || first === LF ? this.#skipEmptyLines(memory, at, end) : at;
    if (from === end) return -1;
    const { source, maxBytes } = this.#rules;
    const to = Math.min(end, from + maxBytes);
    const next = source.read(memory, from, to);
    if (next !== -1) return this.#complete(memory, from, next);
    if (to - from === maxBytes) throw tooLong(memory, from, to);
    this.#keep(memory, from, to);
    this.#parsedSize = this.#size;
    return -1;
  }

  readChunked(memory: Buffer, at: number, end: number, onData?: (start: number, end: number) => void): number {
    this.#bodies ??= this.#rules.createChunked();
    return this.#bodies.read(memory, at, end, onData);
  }

  get isBetweenChunks(): boolean {
    return this.#bodies?.isBetweenChunks === true;
  }

  close(): void {
    this.#reset();
    this.#bodies?.close();
  }

  #reset(): void {
    this.#kept = undefined;
    this.#size = 0;
    this.#afterCr = false;
  }

  #complete(memory: Buffer, from: number, next: number): number {
    this.#head?.expire();
    this.#head = this.#rules.create(this.#rules.source, memory, from);
    this.#emptyLines = 0;
    return next;
  }

  #readOn(memory: Buffer, at: number, end: number): number {
    const before = this.#size;
    const { source, maxBytes } = this.#rules;
    const kept = this.#keep(memory, at, Math.min(end, at + maxBytes - before));
    const ends = kept.subarray(0, this.#size).indexOf("\r\n\r\n", Math.max(0, before - 3), "latin1");
    if (ends === -1 && this.#size < maxBytes && this.#size > ALWAYS_PARSED_BYTES && this.#size < this.#parsedSize * 1.0625) return -1;
    this.#parsedSize = this.#size;
    const next = source.read(kept, 0, this.#size);
    if (next === -1) {
      if (this.#size === maxBytes) throw tooLong(kept, 0, maxBytes);
      return -1;
    }
    this.#reset();
    return at + this.#complete(kept, 0, next) - before;
  }

  #keep(memory: Buffer, from: number, to: number): Buffer {
    const size = this.#size + to - from;
    let kept = this.#kept;
    if (kept === undefined || kept.length < size) {
      // Not from Node's pool: an unfinished head would keep other bytes in memory.
      const larger = Buffer.allocUnsafeSlow(Math.min(this.#rules.maxBytes, Math.max(512, size * 2)));
      kept?.copy(larger, 0, 0, this.#size);
      this.#kept = kept = larger;
    }
    memory.copy(kept, this.#size, from, to);
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
