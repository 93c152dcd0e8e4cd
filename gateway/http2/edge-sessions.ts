import type { Socket } from "node:net";
import { constants, performServerHandshake, type ServerHttp2Session, type ServerHttp2Stream, type ServerSessionOptions } from "node:http2";
import type { Ticker, Ticking } from "../../lib/clock.ts";
import { type AdmittedConnection, type ConnectionLimits, plainAddress } from "../../lib/connection-limits.ts";
import type { Log } from "../../lib/log.ts";
import type { Metrics } from "../../lib/metrics/open-metrics.ts";
import type { Draining } from "../connections/closing.ts";
import type { NetConnection } from "../connections/connection.ts";
import type { ConnectionFactory } from "../connections/open-connections.ts";
import type { Http1 } from "../http1/message-reader.ts";
import { MAX_HEAD_BYTES, SHORT_IDLE_MS, type GatewayLimits } from "../limits.ts";
import { EdgeStream, NO_DATE } from "./edge-stream.ts";
import { RequestMalformed, translateRequest } from "./request-head.ts";

const { NGHTTP2_CANCEL, NGHTTP2_ENHANCE_YOUR_CALM, NGHTTP2_REFUSED_STREAM } = constants;

type EdgeSessionsDeps = {
  /** A client's connection with one request: the engine reads and writes it as one of HTTP/1.1. */
  onConnection(connection: NetConnection, admission: AdmittedConnection): void;
  connections: Pick<ConnectionFactory, "openInMemory">;
  /** Streams count as connections: each has an exchange, and perhaps a connection to a container. */
  bounds: ConnectionLimits;
  http1: Pick<Http1, "responses">;
  limits: Pick<GatewayLimits, "headersTimeoutMs" | "keepAliveTimeoutMs" | "lingeringCloseMs">;
  counts: Pick<Metrics, "http2Sessions" | "http2Streams" | "http2Broken">;
  draining: Draining;
  ticker: Ticker;
  /** Called when a session has closed. */
  onLess(): void;
  log: Log;
};

/** The HTTP/2 connections of clients. */
export type EdgeSessions = {
  /** Takes over a TLS connection whose client chose `h2`. */
  accept(socket: Socket, admission: AdmittedConnection): void;
  count(): number;
  /** Sends GOAWAY: clients send the streams after the last accepted one again, over another connection. Open streams go on. */
  drain(): void;
  destroy(): void;
};

/** Streams of one connection that may be open at once: as nginx has it, above what browsers use. */
const MAX_STREAMS = 128;
/** Bytes of one stream that a client may send before its container takes them. */
const WINDOW_BYTES = 262_144;
/** Fields of one head. Browsers send each cookie as a field of its own; berth joins them. */
const MAX_FIELDS = 512;
/**
 * Cancelled streams of one connection, at once and per second, and the same number of PING and SETTINGS frames. A client that sends more is disconnected
 * (CVE-2023-44487, CVE-2025-8671). nghttp2 has a larger limit for RST_STREAM, and limits of its own for other frames.
 */
const FLOOD = { burst: 256, perSecond: 32 };

const SESSION_OPTIONS: ServerSessionOptions = {
  settings: {
    enableConnectProtocol: true,
    maxConcurrentStreams: MAX_STREAMS,
    initialWindowSize: WINDOW_BYTES,
    maxHeaderListSize: MAX_HEAD_BYTES,
  },
  maxHeaderListPairs: MAX_FIELDS,
  // In megabytes, for what nghttp2 and unsent bytes take.
  maxSessionMemory: 8,
  maxSettings: 16,
  maxSessionInvalidFrames: 64,
  maxSessionRejectedStreams: 64,
  // Containers may repeat any header.
  strictSingleValueFields: false,
};

/** The client of this TLS connection has chosen HTTP/2. */
export function isHttp2(socket: Socket): boolean {
  return "alpnProtocol" in socket && socket.alpnProtocol === "h2";
}

export function openEdgeSessions(deps: EdgeSessionsDeps): EdgeSessions {
  const sessions = new Set<EdgeSession>();
  deps.counts.http2Sessions.look((family) => family.at().set(sessions.size));
  return {
    accept: (socket, admission) => {
      const session = new EdgeSession(socket, admission, deps, () => {
        sessions.delete(session);
        deps.ticker.delete(session);
        deps.onLess();
      });
      sessions.add(session);
      deps.ticker.add(session);
    },
    count: () => sessions.size,
    drain: () => {
      for (const session of sessions) session.close();
    },
    destroy: () => {
      for (const session of sessions) session.destroy();
    },
  };
}

/** One HTTP/2 connection. */
class EdgeSession implements Ticking {
  readonly #session: ServerHttp2Session;
  readonly #deps: EdgeSessionsDeps;
  readonly #socket: Socket;
  readonly #admission: AdmittedConnection;
  readonly #address: string;
  #streams = 0;
  /** Without streams since then, on the ticker's scale. */
  #idleSince: number;
  #used = false;
  readonly #resets: FrameBudget;
  readonly #refusals: FrameBudget;
  readonly #controlFrames: FrameBudget;
  #isBroken = false;
  /** Bytes of a response were sent since the last PING. */
  #hasSent = false;
  #destroyAt: number | undefined;
  /** Streams with a request that no exchange has, and when they are reset, on the ticker's scale: their clients may never take the answer. */
  readonly #refused = new Map<ServerHttp2Stream, number>();

  constructor(socket: Socket, admission: AdmittedConnection, deps: EdgeSessionsDeps, onClose: () => void) {
    this.#deps = deps;
    this.#socket = socket;
    this.#admission = admission;
    this.#address = plainAddress(socket.remoteAddress);
    this.#idleSince = deps.ticker.now;
    this.#resets = new FrameBudget(deps.ticker);
    this.#refusals = new FrameBudget(deps.ticker);
    this.#controlFrames = new FrameBudget(deps.ticker);
    // A client that ends its direction has left.
    socket.allowHalfOpen = false;
    const session = performServerHandshake(socket, SESSION_OPTIONS);
    this.#session = session;
    session.setLocalWindowSize(MAX_STREAMS * 65_536);
    session.on("stream", (stream, _headers, flags, fields: unknown) => this.#onStream(stream, flags, fields as string[]));
    session.on("error", (error) => this.#onError(error));
    session.on("ping", () => this.#onPing());
    session.on("remoteSettings", () => this.#take(this.#controlFrames));
    session.once("close", () => {
      socket.destroy();
      onClose();
    });
  }

  readonly #onSend = (): void => void (this.#hasSent = true);

  tick(now: number): void {
    const { draining, limits } = this.#deps;
    for (const [stream, until] of this.#refused) if (now >= until) stream.close(NGHTTP2_CANCEL);
    if (this.#destroyAt !== undefined && now >= this.#destroyAt && this.#streams === 0) return this.destroy();
    const idleMs = this.#admission.crowded || draining.begun ? SHORT_IDLE_MS : this.#used ? limits.keepAliveTimeoutMs : limits.headersTimeoutMs;
    if (this.#streams === 0 && now - this.#idleSince >= idleMs) this.close();
  }

  destroy(): void {
    this.#session.destroy();
    this.#socket.destroy();
  }

  /** Sends GOAWAY; open streams go on. */
  close(): void {
    if (this.#session.closed) return;
    this.#destroyAt = this.#deps.ticker.now + this.#deps.limits.lingeringCloseMs;
    this.#session.close();
  }

  #onStream(stream: ServerHttp2Stream, flags: number, fields: readonly string[]): void {
    const { bounds, counts, connections, http1, onConnection, log } = this.#deps;
    this.#used = true;
    const admission = bounds.admit(this.#address);
    if (admission === undefined) {
      stream.on("error", () => undefined);
      stream.close(NGHTTP2_REFUSED_STREAM);
      // Others may have the places, and a client may repeat a refused request at once (RFC 9113 §8.7): its open streams go on.
      if (!this.#refusals.take()) this.close();
      return;
    }
    counts.http2Streams.at().add();
    this.#streams++;
    const onClose = (cancelled: boolean) => {
      admission.release();
      this.#streams--;
      this.#idleSince = this.#deps.ticker.now;
      if (cancelled) this.#take(this.#resets);
    };
    try {
      const request = translateRequest(fields, (flags & constants.NGHTTP2_FLAG_END_STREAM) !== 0);
      const options = { remoteAddress: this.#address, connections, responses: http1.responses(), onSend: this.#onSend, onClose, log };
      const edge = new EdgeStream(stream, request, options);
      onConnection(edge.connection, admission);
      edge.begin();
    } catch (error) {
      if (!(error instanceof RequestMalformed)) throw error;
      this.#refuse(stream, error, onClose);
    }
  }

  /** Answers, and then ends the stream: the client need not send the rest of its request (RFC 9113 §8.1). */
  #refuse(stream: ServerHttp2Stream, { message }: RequestMalformed, onClose: (cancelled: boolean) => void): void {
    this.#refused.set(stream, this.#deps.ticker.now + this.#deps.limits.lingeringCloseMs);
    stream
      .on("error", () => undefined)
      .once("close", () => {
        this.#refused.delete(stream);
        onClose(!stream.writableFinished);
      });
    stream.respond({ ":status": 400, "content-type": "text/plain" }, NO_DATE);
    stream.resume();
    stream.once("finish", () => stream.close(constants.NGHTTP2_NO_ERROR));
    stream.end(message);
  }

  /** Clients of gRPC measure the path with a PING after each DATA frame, so one after bytes of a response is free. */
  #onPing(): void {
    if (this.#hasSent) this.#hasSent = false;
    else this.#take(this.#controlFrames);
  }

  #take(budget: FrameBudget): void {
    if (budget.take() || this.#session.destroyed) return;
    this.#broken("flood");
    this.#session.destroy(new Error("The client sends too many frames"), NGHTTP2_ENHANCE_YOUR_CALM);
  }

  #onError(error: Error): void {
    this.#broken("errno" in error && error.errno === NGHTTP2_ERR_FLOODED ? "flood" : "protocol");
    this.#deps.log.debug({ err: error, peer: this.#address }, "HTTP/2 connection broken");
  }

  #broken(why: "flood" | "protocol"): void {
    if (this.#isBroken) return;
    this.#isBroken = true;
    this.#deps.counts.http2Broken.at(why).add();
  }
}

const NGHTTP2_ERR_FLOODED = -904;

/** How many frames of a kind a client may still send. */
class FrameBudget {
  readonly #ticker: Ticker;
  #left = FLOOD.burst;
  #at: number;

  constructor(ticker: Ticker) {
    this.#ticker = ticker;
    this.#at = ticker.now;
  }

  /** False: it sends too many. */
  take(): boolean {
    const { now } = this.#ticker;
    this.#left = Math.min(FLOOD.burst, this.#left + ((now - this.#at) * FLOOD.perSecond) / 1_000) - 1;
    this.#at = now;
    return this.#left >= 0;
  }
}
