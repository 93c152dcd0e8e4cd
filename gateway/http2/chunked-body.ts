import type { Http2Stream } from "node:http2";
import { sizeEnd, sizeIn } from "../http1/plain-chunks.ts";

/** Receives the parts of a chunked body. */
export type ChunkedBodyUser = {
  /** Bytes of the body, a part of what was read. */
  onData(bytes: Buffer): void;
  /** The body is complete. `trailers`: names in lower case and values in turns; undefined if there are none. */
  onBodyEnd(trailers: string[] | undefined): void;
};

const LF = 10;
const ENDED = -1;

/** Heads of chunks and trailers are short, and the engine has bounded them before. */
const MAX_LINE_BYTES = 65_536;

/** Takes the chunks off a body that the engine has read and checked before: this decodes, and judges nothing. */
export class ChunkedBody {
  readonly #user: ChunkedBodyUser;
  /** Bytes of the current chunk that are missing, with its line end. */
  #left = 0;
  #line = "";
  #state: "size" | "data" | "trailers" | "over" = "size";
  #trailers: string[] | undefined;

  constructor(user: ChunkedBodyUser) {
    this.#user = user;
  }

  /** Reads on from `from`, and returns the offset after the body, or the end of the bytes. */
  read(bytes: Buffer, from: number): number {
    let at = from;
    while (at < bytes.length && this.#state !== "over") {
      if (this.#state === "data") at = this.#readData(bytes, at);
      else at = this.#readLine(bytes, at);
    }
    return at;
  }

  #readData(bytes: Buffer, at: number): number {
    const end = Math.min(bytes.length, at + this.#left);
    // The last two bytes are the line end after the chunk.
    const dataEnd = Math.min(end, at + this.#left - 2);
    this.#left -= end - at;
    if (this.#left === 0) this.#state = "size";
    if (dataEnd > at) this.#user.onData(at === 0 && dataEnd === bytes.length ? bytes : bytes.subarray(at, dataEnd));
    return end;
  }

  #readLine(bytes: Buffer, at: number): number {
    // A read may have a hundred thousand chunks, so their lines become no text.
    const sizeLine = this.#state === "size" && this.#line === "" ? sizeEnd(bytes, at, bytes.length) : ENDED;
    if (sizeLine !== ENDED) {
      this.#begin(sizeIn(bytes, at, sizeLine));
      return sizeLine + 2;
    }
    const end = bytes.indexOf(LF, at);
    this.#line += bytes.toString("latin1", at, end === ENDED ? bytes.length : end);
    if (this.#line.length > MAX_LINE_BYTES) throw new Error("A line of a chunked body is too long");
    if (end === ENDED) return bytes.length;
    const line = this.#line.endsWith("\r") ? this.#line.slice(0, -1) : this.#line;
    this.#line = "";
    if (this.#state === "size") this.#begin(Number.parseInt(line, 16));
    else if (line === "") {
      this.#state = "over";
      this.#user.onBodyEnd(this.#trailers);
    } else this.#addTrailer(line);
    return end + 1;
  }

  #begin(size: number): void {
    if (!Number.isSafeInteger(size)) throw new Error("A chunk has no size");
    this.#state = size === 0 ? "trailers" : "data";
    this.#left = size + 2;
  }

  #addTrailer(line: string): void {
    const colon = line.indexOf(":");
    (this.#trailers ??= []).push(line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim());
  }
}

/** The fields as an object whose repeated names have lists, as `node:http2` takes them. */
export function fieldObject(fields: readonly string[]): Record<string, string | string[]> {
  const object: Record<string, string | string[]> = Object.create(null) as Record<string, string | string[]>;
  for (let at = 0; at + 1 < fields.length; at += 2) {
    const name = fields[at] ?? "";
    const value = fields[at + 1] ?? "";
    const before = object[name];
    object[name] = before === undefined ? value : typeof before === "string" ? [before, value] : [...before, value];
  }
  return object;
}

/** Ends a stream with these trailers, names and values in turns. What HTTP/2 forbids breaks the stream: an event handler must not throw. */
export function sendTrailers(stream: Http2Stream, trailers: readonly string[] | undefined): void {
  try {
    stream.sendTrailers(fieldObject(trailers ?? []));
  } catch (error) {
    stream.destroy(error as Error);
  }
}

/**
 * Watches whether the other end sends END_STREAM. Node reports the end of a stream that was reset without an error as well, whose message is incomplete;
 * such a stream is closed by then.
 */
export function watchEndOfStream(stream: Http2Stream): () => boolean {
  let hasEnded = false;
  const push = stream.push.bind(stream);
  stream.push = (bytes: unknown, encoding?: BufferEncoding) => {
    hasEnded ||= bytes === null && !stream.closed;
    return push(bytes, encoding);
  };
  return () => hasEnded;
}

/** A chunk with these bytes. */
export function chunkOf(bytes: Buffer): Buffer {
  const head = `${bytes.length.toString(16)}\r\n`;
  const chunk = Buffer.allocUnsafe(head.length + bytes.length + 2);
  chunk.write(head, "latin1");
  bytes.copy(chunk, head.length);
  chunk.write("\r\n", chunk.length - 2, "latin1");
  return chunk;
}

/** The end of a chunked body with its trailers, names and values in turns. */
export function chunkedEnd(trailers: readonly string[] | undefined): string {
  let text = "0\r\n";
  if (trailers !== undefined) for (let at = 0; at + 1 < trailers.length; at += 2) text += `${trailers[at]}: ${trailers[at + 1]}\r\n`;
  return `${text}\r\n`;
}
