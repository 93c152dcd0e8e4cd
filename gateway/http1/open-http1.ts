import { mayBeNamed, HOP_BY_HOP, knownNames } from "./header-lines.ts";
import { MAX_HEAD_BYTES } from "../limits.ts";
import { ChunkedReader, ChunkParsers, type TrailerRules } from "./chunked-reader.ts";
import { openHeadParser } from "./head-parser.ts";
import { HeadReader, type HeadRules } from "./head-reader.ts";
import { RequestHead } from "./request-head.ts";
import { ResponseHead } from "./response-head.ts";

export { MessageRefused } from "./framing.ts";
export type { RequestHead } from "./request-head.ts";
export type { ResponseHead } from "./response-head.ts";

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
