import { STATUS_CODES } from "node:http";
import { constants, type ClientHttp2Session, type ClientHttp2Stream } from "node:http2";
import { isFieldValue } from "../../lib/character-classes.ts";
import type { RequestHead, RequestReader } from "../http1/message-reader.ts";
import { ChunkedBody, type ChunkedBodyUser, chunkedEnd, chunkOf, sendTrailers, watchEndOfStream } from "./chunked-body.ts";
import { InMemoryConnection, type InMemoryPeer } from "./in-memory-connection.ts";

import { StreamWriter } from "./stream-writer.ts";

/** `te` is added: servers of gRPC demand it, and this proxy forwards trailers. */
const NOT_FORWARDED = { remove: ["host", "transfer-encoding"], add: [] };
/** Bytes of a request's body that are kept until its response begins: enough for most calls of gRPC. */
const KEPT_BODY_BYTES = 65_536;
const NO_WEBSOCKET = "HTTP/1.1 501 Not Implemented\r\nContent-Length: 0\r\n\r\n";

/** An HTTP/2 connection to a container, in which streams begin. */
export type StreamSession = {
  readonly http2: ClientHttp2Session;
  readonly isConnected: boolean;
  /** No stream may begin in it any more. */
  readonly isLeaving: boolean;
  /** New streams get another session. */
  leave(): void;
  /** How often its silence was measured. */
  readonly checks: number;
  /** Reports `connect` and the end of the session to the stream's connection. */
  add(stream: ContainerStream): void;
  remove(stream: ContainerStream): void;
};

/** What was sent of a request, as long as it may have to be sent again. */
type SentRequest = { fields: string[]; method: string; hasBody: boolean; waitForTrailers: boolean; pieces: Buffer[]; bytes: number };

/** Calls `act` when the container leaves the address, at once if it has left already, until the returned function is called. */
export type WatchGone = (act: () => void) => () => void;

/** `session`: the container's current one. */
type ContainerStreamDeps = { requests: RequestReader; session(): StreamSession; watchGone: WatchGone };

/**
 * A connection to a container that speaks HTTP/2, as the engine sees it: one HTTP/1.1 exchange after another, each of which is a stream of a session that
 * many connections share. It leaves a session that ends between two exchanges.
 */
export class ContainerStream implements InMemoryPeer, ChunkedBodyUser {
  readonly connection: InMemoryConnection;
  /** Of the request. */
  checksBefore = 0;
  readonly #deps: ContainerStreamDeps;
  #session: StreamSession | undefined;
  readonly #writer = new StreamWriter();
  #state: "head" | "length" | "chunked" = "head";
  #left = 0;
  #chunked: ChunkedBody | undefined;
  #requestTrailers: string[] | undefined;
  /** Of the current exchange, until its response is complete. */
  #stream: ClientHttp2Stream | undefined;
  /** The same until it is closed: it may take the rest of its request. */
  #open: ClientHttp2Stream | undefined;
  /** Of the exchange before, if its response was complete before its stream: trailers follow, or nothing. */
  #earlier: ClientHttp2Stream | undefined;
  #response: "head" | "none" | "length" | "chunked" = "head";
  #repeatable: SentRequest | undefined;
  #trailers: string[] | undefined;
  readonly #unwatch: () => void;
  /** The container has left the address, which another one may have. */
  #isGone = false;

  constructor(deps: ContainerStreamDeps) {
    this.#deps = deps;
    this.connection = new InMemoryConnection(this);
    this.#unwatch = deps.watchGone(() => this.#onGone());
    this.#enter();
  }

  /** Between two exchanges. */
  get idle(): boolean {
    return this.#stream === undefined && this.#state === "head";
  }

  /** Another session has the next exchange. */
  leave(): void {
    this.#session?.remove(this);
    this.#session = undefined;
  }

  /** What it has sent over its session goes on. A session that connects may reach another container. */
  #onGone(): void {
    this.#isGone = true;
    if (this.#session?.isConnected === false) this.connection.destroy();
  }

  #enter(): StreamSession {
    if (this.#isGone) throw new Error("The container has left its address");
    const session = this.#deps.session();
    this.#session = session;
    session.add(this);
    return session;
  }

  /** A request was sent, and nothing of its response came. */
  get isUnanswered(): boolean {
    return this.#stream !== undefined && this.#response === "head";
  }

  onBytes(bytes: Buffer, done: () => void): void {
    this.#writer.begin(done);
    try {
      this.#read(bytes);
    } catch (error) {
      // The session has just closed, or HTTP/2 cannot express the request: for the exchange, the connection broke.
      this.connection.destroy(error as Error);
    }
    this.#writer.settle();
  }

  onData(bytes: Buffer): void {
    const request = this.#repeatable;
    if (request !== undefined) {
      request.bytes += bytes.length;
      // The engine may use its memory again.
      if (request.bytes <= KEPT_BODY_BYTES) request.pieces.push(Buffer.from(bytes));
      else this.#repeatable = undefined;
    }
    this.#writer.send(bytes);
  }

  onBodyEnd(trailers: string[] | undefined): void {
    this.#requestTrailers = trailers;
    this.#endRequest();
  }

  onEnd(): void {
    this.connection.destroy();
  }

  onResume(): void {
    this.#stream?.resume();
  }

  onClose(): void {
    this.#unwatch();
    this.#deps.requests.close();
    this.#writer.settle();
    giveUp(this.#open);
    giveUp(this.#earlier);
    this.leave();
  }

  #read(bytes: Buffer): void {
    for (let at = 0; at < bytes.length;) {
      if (this.#state !== "head") at = this.#passBody(bytes, at);
      else {
        const { requests } = this.#deps;
        at = requests.readHead(bytes, at, bytes.length);
        if (at === -1) return;
        this.#begin(requests.head);
        requests.dropHead();
      }
    }
  }

  #begin(head: RequestHead): void {
    const { bodyKind, bodyLength, method, target } = head;
    this.#state = bodyKind === "none" ? "head" : bodyKind;
    this.#left = bodyLength;
    if (bodyKind === "chunked") this.#chunked = new ChunkedBody(this);
    if (head.websocket) return void this.connection.deliver(NO_WEBSOCKET);
    const fields = [":method", method, ":path", target, ":scheme", "http", ":authority", head.header("host") ?? "", "te", "trailers"];
    for (const [name, value] of head.lines(NOT_FORWARDED)) fields.push(name.toLowerCase(), value);
    const request = { fields, method, hasBody: bodyKind !== "none", waitForTrailers: bodyKind === "chunked", pieces: [], bytes: 0 };
    this.#requestTrailers = undefined;
    this.#send(request);
    this.#repeatable = request;
  }

  #send({ fields, method, hasBody, waitForTrailers }: SentRequest): void {
    if (this.#session?.isLeaving === true) this.leave();
    const session = this.#session ?? this.#enter();
    this.checksBefore = session.checks;
    const stream = session.http2.request(fields, { endStream: !hasBody, waitForTrailers });
    // It had the time of a whole exchange to end.
    giveUp(this.#earlier);
    this.#earlier = this.#open;
    this.#stream = this.#open = stream;
    this.#response = "head";
    this.#trailers = undefined;
    this.#writer.use(hasBody ? stream : undefined);
    stream.on("error", () => undefined);
    stream.on("wantTrailers", () => sendTrailers(stream, this.#requestTrailers));
    stream.on("headers", (_headers, _flags, received: unknown) => this.#passInterim(received as string[]));
    stream.on("response", (_headers, flags, received: unknown) => this.#beginResponse(stream, method, flags, received as string[]));
    stream.on("trailers", (_headers, _flags, received: unknown) => {
      // Behind a body with a length they may come within the next exchange.
      if (this.#stream === stream) this.#trailers = received as string[];
    });
    stream.on("data", (bytes: Buffer) => {
      // One that was given up is read to its end.
      if (this.#stream !== stream) return;
      if (!this.connection.deliver(this.#response === "chunked" ? chunkOf(bytes) : bytes)) stream.pause();
    });
    const hasEnded = watchEndOfStream(stream);
    stream.once("end", () => this.#endResponse(stream, hasEnded()));
    stream.once("close", () => this.#streamClosed(stream));
  }

  /** The container has processed nothing of it (RFC 9113 §8.7), so its method does not matter. Once: the next refusal is the container's answer. */
  #sendAgain(request: SentRequest): void {
    this.#session?.leave();
    try {
      this.#send(request);
      for (const piece of request.pieces) this.#writer.send(piece);
      if (request.hasBody && this.#state === "head") this.#writer.end();
      else this.#writer.settle();
    } catch (error) {
      this.connection.destroy(error as Error);
    }
  }

  #passBody(bytes: Buffer, at: number): number {
    if (this.#state === "chunked") return this.#chunked?.read(bytes, at) ?? bytes.length;
    const end = Math.min(bytes.length, at + this.#left);
    this.#left -= end - at;
    this.onData(bytes.subarray(at, end));
    if (this.#left === 0) this.#endRequest();
    return end;
  }

  #endRequest(): void {
    this.#state = "head";
    this.#chunked = undefined;
    this.#writer.end();
    this.#leaveIfIdle();
  }

  #leaveIfIdle(): void {
    if (!this.idle || this.#session?.isLeaving !== true) return;
    this.leave();
    // The engine has read the response. If it has begun the next exchange, that one is in another session.
    setImmediate(() => {
      if (this.idle && this.#session === undefined && this.connection.readableLength === 0) this.connection.destroy();
    });
  }

  #passInterim(received: readonly string[]): void {
    this.#repeatable = undefined;
    const head = responseHead(received, undefined);
    if (head === undefined) this.connection.destroy();
    else this.connection.deliver(head.text);
  }

  #beginResponse(stream: ClientHttp2Stream, method: string, flags: number, received: readonly string[]): void {
    const ended = (flags & constants.NGHTTP2_FLAG_END_STREAM) !== 0;
    const head = responseHead(received, ended ? "none" : method === "HEAD" ? "bodyless" : "body");
    this.#repeatable = undefined;
    if (head === undefined) return void stream.destroy();
    this.#response = head.framing;
    this.connection.deliver(head.text);
  }

  #endResponse(stream: ClientHttp2Stream, hasEnded: boolean): void {
    // After a body with a length, the next request may have begun already.
    if (this.#stream !== stream) return;
    // A reset ends a stream too.
    if (!hasEnded || this.#response === "head" || (stream.rstCode !== constants.NGHTTP2_NO_ERROR && stream.rstCode !== undefined)) return;
    const { connection } = this;
    this.#stream = undefined;
    if (this.#response === "chunked") connection.deliver(chunkedEnd(this.#trailers?.every(isFieldValue) === true ? this.#trailers : undefined));
    this.#leaveIfIdle();
  }

  #streamClosed(stream: ClientHttp2Stream): void {
    if (this.#earlier === stream) this.#earlier = undefined;
    if (this.#open === stream) {
      this.#open = undefined;
      this.#writer.use(undefined);
      this.#writer.settle();
    }
    if (this.#stream !== stream) return;
    const request = this.#repeatable;
    this.#repeatable = undefined;
    if (request !== undefined && stream.rstCode === constants.NGHTTP2_REFUSED_STREAM && !this.connection.destroyed) this.#sendAgain(request);
    // Before the end of its response: the container has reset it, or has left.
    else this.connection.destroy();
  }
}

/** In a turn of its own: after a cancel within an event of a stream that has trailers, Node 26 may abort the process (`Http2Stream::OnTrailers`). */
function giveUp(stream: ClientHttp2Stream | undefined): void {
  if (stream === undefined) return;
  setImmediate(() => stream.close(constants.NGHTTP2_CANCEL));
  // One that its container reset without an error ends only when all that came was read.
  stream.resume();
}

type ResponseText = { text: string; framing: "none" | "length" | "chunked" };

/**
 * The head of a response as one of HTTP/1.1. Undefined if it cannot be one. `body`: what follows the head; undefined for an informational response. A
 * response of gRPC is chunked even if it has a length, because its trailers say how the call ended.
 */
function responseHead(received: readonly string[], body: "none" | "bodyless" | "body" | undefined): ResponseText | undefined {
  let status = 0;
  let lines = "";
  let hasLength = false;
  let isGrpc = false;
  for (let at = 0; at + 1 < received.length; at += 2) {
    const name = received[at] ?? "";
    const value = received[at + 1] ?? "";
    if (!isFieldValue(value)) return undefined;
    if (name === ":status") status = Number(value);
    else if (name === "content-type" && value.startsWith("application/grpc")) isGrpc = true;
    if (name === "content-length") hasLength = true;
    else if (!name.startsWith(":")) lines += `${name}: ${value}\r\n`;
  }
  const length = received[received.indexOf("content-length") + 1];
  const bodiless = status < 200 || status === 204 || status === 304;
  const framing = body !== "body" || bodiless ? "none" : hasLength && !isGrpc ? "length" : "chunked";
  if (framing === "chunked") lines += "Transfer-Encoding: chunked\r\n";
  else if (hasLength) lines += `Content-Length: ${length}\r\n`;
  else if (body === "none" && !bodiless) lines += "Content-Length: 0\r\n";
  return { text: `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ""}\r\n${lines}\r\n`, framing };
}
