import { constants, type ServerHttp2Stream } from "node:http2";
import { isFieldValue } from "../../lib/character-classes.ts";
import type { Log } from "../../lib/log.ts";
import type { NetConnection } from "../connections/connection.ts";
import type { MemoryPeer, MemorySocket } from "../connections/memory-sockets.ts";
import type { ConnectionFactory } from "../connections/open-connections.ts";
import type { ResponseHead, ResponseReader } from "../http1/message-reader.ts";
import { ChunkedBody, type ChunkedBodyUser, chunkedEnd, chunkOf, fieldObject, sendTrailers } from "./chunked-body.ts";
import type { TranslatedRequest } from "./request-head.ts";

const BROKEN_OFF = new Error("The exchange broke off");

/** Node would add a `Date` of its own, and its types do not know the option. */
export const NO_DATE: object = { sendDate: false };
/** HTTP/2 has a framing of its own. */
const FRAMING_EDITS = { remove: ["transfer-encoding"], add: [] };
/** A handshake's lines that HTTP/2 does not have (RFC 8441 §5). */
const HANDSHAKE_EDITS = { remove: ["sec-websocket-accept"], add: [] };

type StreamOptions = {
  remoteAddress: string;
  connections: Pick<ConnectionFactory, "openInMemory">;
  responses: ResponseReader;
  /** Bytes of the response are about to be sent. */
  onSend: () => void;
  /** `cancelled`: the client ended the stream before the response was complete, or made nghttp2 end it. */
  onClose: (cancelled: boolean) => void;
  log: Log;
};

/**
 * One stream of a client as a connection with one HTTP/1.1 exchange. The engine reads and writes `connection`; this translates the request's body and the
 * response. What the stream has not sent yet is the connection's backlog, so a client that does not read is back-pressure for the container, and a paused
 * connection keeps the stream's window closed.
 */
export class EdgeStream implements MemoryPeer, ChunkedBodyUser {
  readonly connection: NetConnection;
  readonly #socket: MemorySocket;
  readonly #stream: ServerHttp2Stream;
  readonly #request: TranslatedRequest;
  readonly #responses: ResponseReader;
  readonly #onSend: () => void;
  readonly #onClose: (cancelled: boolean) => void;
  readonly #log: Log;
  #state: "head" | "length" | "chunked" | "close" | "tunnel" | "over" = "head";
  #left = 0;
  #chunked: ChunkedBody | undefined;
  #trailers: string[] | undefined;
  /** Of the body, not written yet. */
  #pieces: Buffer[] = [];
  /** The stream has not sent the end of its response yet. */
  #owesTrailers = false;
  #requestTrailers: string[] | undefined;
  #requestOver: boolean;
  /** The engine has sent everything, and the stream has taken it. */
  #ended = false;

  constructor(stream: ServerHttp2Stream, request: TranslatedRequest, { remoteAddress, connections, responses, onSend, onClose, log }: StreamOptions) {
    this.#stream = stream;
    this.#request = request;
    this.#responses = responses;
    this.#onSend = onSend;
    this.#onClose = onClose;
    this.#log = log;
    this.#requestOver = request.body === "none";
    const { connection, socket } = connections.openInMemory(this, { remoteAddress, tls: true });
    this.connection = connection;
    this.#socket = socket;
    stream.on("error", ignore);
    stream.on("close", () => this.#streamClosed());
    // After a reset without an error, Node closes a stream only when all of it was read, which a container may never do. When the connection has closed, Node
    // resets the stream after this event. If it is destroyed before, it is not reset, and nghttp2 may create empty frames for it without end.
    stream.on("aborted", () => setImmediate(() => stream.destroy()));
    // Without a body, Node reads its end when the stream closes. Read sooner, it would close before its last write is done, and Node creates an error for that.
    if (request.body !== "none") {
      stream.on("data", (bytes: Buffer) => this.#passBody(bytes));
      stream.once("end", () => this.#bodyOver());
      stream.on("trailers", (_headers, _flags, fields: unknown) => (this.#requestTrailers = fields as string[]));
    }
  }

  /** Passes the request's head to the engine, which reads the connection. */
  begin(): void {
    const { head, awaitsEnd } = this.#request;
    const deliver = () => void this.#socket.deliverText(head);
    // With DATA it is malformed, and must not be forwarded (RFC 9113 §8.1.1).
    if (awaitsEnd) this.#stream.once("end", deliver);
    else deliver();
  }

  onBytes(memory: Buffer, at: number, end: number): void {
    this.#onSend();
    try {
      this.#read(memory, at, end);
      this.#flush();
    } catch (error) {
      // Such as a status above 599. A stream that the client has just ended takes nothing.
      if (!this.#stream.destroyed) this.#log.warn({ err: error }, "response not sent: HTTP/2 cannot express it");
      this.#abort();
    }
  }

  /** A piece of what the engine sends now. */
  onData(bytes: Buffer): void {
    this.#pieces.push(bytes);
  }

  /** Writes the pieces at once, however small the container's chunks are, as a copy: the engine's memory is used again. */
  #flush(): void {
    const pieces = this.#pieces;
    if (pieces.length === 0) return;
    this.#pieces = [];
    const stream = this.#stream;
    if (stream.destroyed || stream.writableEnded) return;
    const bytes = Buffer.concat(pieces);
    const { length } = bytes;
    this.#socket.kept(length);
    stream.write(bytes, () => this.#socket.taken(length));
  }

  onBodyEnd(trailers: string[] | undefined): void {
    this.#trailers = trailers;
    this.#end();
  }

  onEnd(): void {
    this.#ended = true;
    if (this.#state === "close" || this.#state === "tunnel") this.#end();
    if (this.#state !== "over") this.#abort();
    // The response is complete. If the request is not, the client need not send the rest (RFC 9113 §8.1).
    else if (!this.#requestOver && !this.#owesTrailers) this.#stream.close(constants.NGHTTP2_NO_ERROR);
    this.#close();
  }

  onRead(): void {
    this.#stream.resume();
  }

  /** The engine gives up a client that takes nothing: without the reset, the stream would stay. */
  onClose(): void {
    if (this.#state !== "over" || !this.#ended) this.#abort();
    else this.#close();
  }

  #close(): void {
    this.#responses.close();
    this.#socket.close();
  }

  #read(memory: Buffer, from: number, end: number): void {
    let at = from;
    while (this.#state === "head" && at < end) {
      at = this.#responses.readHead(memory, at, end);
      if (at === -1) return;
      this.#begin(this.#responses.head);
      this.#responses.dropHead();
    }
    if (at < end) this.#passResponse(memory.subarray(at, end));
  }

  #begin(head: ResponseHead): void {
    const { status } = head;
    const { body } = this.#request;
    if (status === 101) {
      this.#state = "tunnel";
      return this.#respond(200, head, HANDSHAKE_EDITS, false);
    }
    if (status < 200) return this.#stream.additionalHeaders({ ":status": status, ...fieldObject(fieldsOf(head, FRAMING_EDITS)) });
    if (body === "tunnel" && status < 300) return this.#refuseTunnel();
    const kind = head.bodyKind(this.#request.method);
    if (kind === "none") {
      this.#respond(status, head, FRAMING_EDITS, true);
      this.#state = "over";
      return;
    }
    this.#state = kind;
    this.#left = head.bodyLength;
    if (kind === "chunked") this.#chunked = new ChunkedBody(this);
    this.#respond(status, head, FRAMING_EDITS, false);
  }

  /** The container did not switch: a 2xx would say that it did (RFC 8441 §4). */
  #refuseTunnel(): void {
    this.#state = "over";
    this.#stream.respond({ ":status": 502 }, { ...NO_DATE, endStream: true });
  }

  #respond(status: number, head: ResponseHead, edits: typeof FRAMING_EDITS, endStream: boolean): void {
    const fields = [":status", String(status), ...fieldsOf(head, edits)];
    const waitForTrailers = this.#state === "chunked";
    if (waitForTrailers) {
      this.#owesTrailers = true;
      this.#stream.once("wantTrailers", () => this.#sendTrailers());
    }
    this.#stream.respond(fields, { ...NO_DATE, endStream, waitForTrailers });
  }

  /** Node sends them in a later turn, and none over a stream that was closed until then. */
  #sendTrailers(): void {
    sendTrailers(this.#stream, this.#trailers);
    setImmediate(() => {
      this.#owesTrailers = false;
      if (this.#ended && !this.#requestOver) this.#stream.close(constants.NGHTTP2_NO_ERROR);
    });
  }

  #passResponse(bytes: Buffer): void {
    if (this.#state === "chunked") return void this.#chunked?.read(bytes, 0);
    if (this.#state === "over") return;
    const { length } = bytes;
    const last = this.#state === "length" && length >= this.#left;
    this.onData(last ? bytes.subarray(0, this.#left) : bytes);
    this.#left -= length;
    if (last) this.#end();
  }

  #end(): void {
    if (this.#state === "over") return;
    this.#state = "over";
    this.#flush();
    if (!this.#stream.destroyed) this.#stream.end();
  }

  /** RST_STREAM with INTERNAL_ERROR. `close` would end the stream first, and the client would take what it has for the whole response. */
  #abort(): void {
    this.#state = "over";
    this.#close();
    this.#stream.destroy(BROKEN_OFF);
  }

  #passBody(bytes: Buffer): void {
    if (!this.#socket.deliver(this.#request.body === "chunked" ? chunkOf(bytes) : bytes)) this.#stream.pause();
  }

  #bodyOver(): void {
    // A reset without an error ends the stream too, and its close follows: the container must not take the body for complete.
    if (this.#stream.aborted) return;
    this.#requestOver = true;
    const { body } = this.#request;
    if (body === "tunnel") this.#socket.deliverEnd();
    if (body !== "chunked") return;
    const trailers = this.#requestTrailers;
    if (trailers?.every(isFieldValue) === false) return this.#abort();
    this.#socket.deliverText(chunkedEnd(trailers));
  }

  #streamClosed(): void {
    const cancelled = this.#state !== "over";
    this.#state = "over";
    this.#close();
    this.#onClose(cancelled);
  }
}

function ignore(): void {}

/** Names and values in turns. */
function fieldsOf(head: ResponseHead, edits: typeof FRAMING_EDITS): string[] {
  const fields: string[] = [];
  for (const [name, value] of head.lines(edits)) fields.push(name.toLowerCase(), value);
  return fields;
}
