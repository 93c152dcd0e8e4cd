import { connect, type ClientHttp2Session } from "node:http2";
import { connect as connectPlainly, type Socket } from "node:net";
import type { Clock } from "../../lib/clock.ts";
import { MAX_PLACED } from "../connections/socket-layer.ts";
import { createHttp1, type Http1 } from "../http1/message-reader.ts";
import { type GatewayLimits, MAX_HEAD_BYTES } from "../limits.ts";
import { ContainerStream, type StreamSession, type WatchGone } from "./container-stream.ts";
import type { InMemoryConnection } from "./in-memory-connection.ts";

type H2cAddress = { host: string; port: number };

/** HTTP/2 connections to containers that speak it without TLS (h2c), with prior knowledge (RFC 9113 §3.3). */
export type ContainerSessions = {
  /**
   * A connection to the container at this address. Its events `connect` and `error` report the result. Connections share a session while the address is
   * the same object: a new view of the container has new ones, so none leads to a container that had the address before. `watchGone`: calls its argument
   * when the container leaves the address, until the function that it returns is called: a connection may need another session later.
   */
  connect(address: H2cAddress, watchGone: WatchGone): InMemoryConnection;
  close(): void;
};

/** Connections that share a session. Most servers allow 100 streams or more. */
const MAX_SHARING = 100;
/** Bytes of one response that a container may send before its client takes them. */
const WINDOW_BYTES = 262_144;

const SESSION_OPTIONS = {
  settings: { enablePush: false, initialWindowSize: WINDOW_BYTES, maxHeaderListSize: MAX_HEAD_BYTES },
  maxHeaderListPairs: 512,
  maxReservedRemoteStreams: 0,
  // nghttp2 refuses a request whose head may become longer.
  maxSendHeaderBlockLength: 2 * MAX_PLACED,
  // Containers may repeat any header. Node's types do not know the option.
  strictSingleValueFields: false,
};

const OWN_REQUESTS = { underscoreHeaders: "pass", maxHeadBytes: MAX_PLACED, maxHeaderLines: Infinity } as const;

type ContainerSessionsDeps = {
  limits: Pick<GatewayLimits, "probeAfterMs" | "silentSessionMs" | "lingeringCloseMs">;
  clock: Clock;
};

export function openContainerSessions(deps: ContainerSessionsDeps): ContainerSessions {
  // Created for the first such container. berth wrote what it reads: the limits of clients' requests do not hold for it.
  let http1: Http1 | undefined;
  const readRequests = () => (http1 ??= createHttp1(OWN_REQUESTS)).requests();
  const byAddress = new WeakMap<H2cAddress, ContainerSession>();
  const open = new Set<ContainerSession>();
  const sessionTo = (address: H2cAddress): ContainerSession => {
    const session = byAddress.get(address);
    if (session?.isShareable === true) return session;
    const opened = new ContainerSession(address, deps, () => void open.delete(opened));
    open.add(opened);
    byAddress.set(address, opened);
    return opened;
  };
  return {
    connect: (address, watchGone) => new ContainerStream({ requests: readRequests(), session: () => sessionTo(address), watchGone }).connection,
    close: () => {
      for (const session of open) session.destroy();
    },
  };
}

/** Servers of gRPC close a connection that gets PINGs more often while they send nothing. */
const PING_EVERY_MS = 300_000;
/** A request that is given up without a response is a sign of a dead path too, if it waited for so many checks without a byte. */
const SILENT_CHECKS = 2;

/** One HTTP/2 connection to a container. It closes with the last connection that uses it. */
class ContainerSession implements StreamSession {
  readonly http2: ClientHttp2Session;
  readonly #socket: Socket;
  readonly #deps: ContainerSessionsDeps;
  readonly #streams = new Set<ContainerStream>();
  #connected = false;
  /** Open streams go on; new ones get another session. */
  #isLeft = false;
  /** Bytes that the container has sent, other than answers to PINGs. */
  #received = 0;
  checks = 0;
  /** In a row. */
  #silentChecks = 0;
  #pingedAt = Number.NEGATIVE_INFINITY;
  #awaitsPong = false;
  #cancelCheck: (() => void) | undefined;

  constructor({ host, port }: H2cAddress, deps: ContainerSessionsDeps, onClose: () => void) {
    this.#deps = deps;
    const socket = connectPlainly({ host, port, noDelay: true, keepAlive: true, keepAliveInitialDelay: deps.limits.probeAfterMs });
    const session = connect("http://container.invalid", { ...SESSION_OPTIONS, createConnection: () => socket });
    this.#socket = socket;
    this.http2 = session;
    session.once("connect", () => {
      // Node reports it in a later turn.
      if (session.destroyed) return;
      session.setLocalWindowSize(MAX_SHARING * 65_536);
      this.#connected = true;
      this.#checkSoon();
      for (const { connection } of this.#streams) connection.emit("connect");
    });
    session.on("error", (error) => this.#abandon(error));
    // Streams that the container has accepted go on; nothing new is sent there.
    session.once("goaway", () => this.leave());
    session.once("close", () => {
      this.#cancelCheck?.();
      this.#abandon(undefined);
      onClose();
    });
  }

  get isConnected(): boolean {
    return this.#connected;
  }

  get isLeaving(): boolean {
    return this.#isLeft || this.http2.closed || this.http2.destroyed;
  }

  /** Another connection may use it. */
  get isShareable(): boolean {
    if (this.isLeaving) return false;
    const { remoteSettings } = this.http2;
    // A stream beyond the container's own limit would wait for the end of another. Its settings come with its first bytes.
    return this.#streams.size < Math.min(MAX_SHARING, this.#connected ? (remoteSettings.maxConcurrentStreams ?? MAX_SHARING) : MAX_SHARING);
  }

  add(stream: ContainerStream): void {
    this.#streams.add(stream);
    if (this.#connected) process.nextTick(() => stream.connection.emit("connect"));
  }

  remove(stream: ContainerStream): void {
    this.#streams.delete(stream);
    if (stream.isUnanswered && Math.min(this.#silentChecks, this.checks - stream.checksBefore) >= SILENT_CHECKS) this.leave();
    if (this.#streams.size > 0) return;
    // A close waits for a connect, which may take minutes where no one answers.
    if (this.#connected) this.#close();
    else this.destroy();
  }

  destroy(): void {
    this.http2.destroy();
    this.#socket.destroy();
  }

  /** Node waits for the other end to close too, and a container that hangs never does. */
  #close(): void {
    const { clock, limits } = this.#deps;
    this.http2.close();
    this.#socket.once(
      "close",
      clock.after(limits.lingeringCloseMs, () => this.destroy()),
    );
  }

  #checkSoon(): void {
    const { clock, limits } = this.#deps;
    this.#cancelCheck = clock.after(limits.silentSessionMs, () => this.#check());
  }

  /**
   * The path to a container may die without a reset, and the kernel notices only after a quarter of an hour. So a silent session is probed by a PING, and
   * left if no answer comes: a container that is only busy still answers its open streams there, and accepts another connection.
   */
  #check(): void {
    if (this.#isLeft || this.http2.destroyed) return;
    this.checks++;
    const received = this.#socket.bytesRead;
    const isSilent = received === this.#received;
    if (isSilent && this.#awaitsPong) return this.leave();
    this.#silentChecks = isSilent ? this.#silentChecks + 1 : 0;
    this.#received = received;
    this.#awaitsPong = false;
    if (isSilent && this.#isAwaiting) this.#ping();
    this.#checkSoon();
  }

  #ping(): void {
    const now = this.#deps.clock.monotonic();
    if (now - this.#pingedAt < PING_EVERY_MS) return;
    this.#pingedAt = now;
    this.#awaitsPong = this.http2.ping(() => {
      this.#awaitsPong = false;
      this.#received = this.#socket.bytesRead;
    });
  }

  /** A response is expected. */
  get #isAwaiting(): boolean {
    for (const { idle } of this.#streams) if (!idle) return true;
    return false;
  }

  /** Streams that are open go on here. */
  leave(): void {
    this.#isLeft = true;
    for (const stream of this.#streams) if (stream.idle) stream.connection.destroy();
  }

  #abandon(error: Error | undefined): void {
    for (const { connection } of this.#streams) connection.destroy(error);
  }
}
