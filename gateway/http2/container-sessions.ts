import { connect, type ClientHttp2Session } from "node:http2";
import { connect as connectPlainly } from "node:net";
import type { Http1 } from "../http1/message-reader.ts";
import { MAX_HEAD_BYTES } from "../limits.ts";
import { ContainerStream } from "./container-stream.ts";
import type { InMemoryConnection } from "./in-memory-connection.ts";

type H2cAddress = { host: string; port: number };

/** HTTP/2 connections to containers that speak it without TLS (h2c), with prior knowledge (RFC 9113 §3.3). */
export type ContainerSessions = {
  /**
   * A connection to the container at this address. Its events `connect` and `error` report the result. Connections share a session while the address is
   * the same object: a new view of the container has new ones, so none leads to a container that had the address before.
   */
  connect(address: H2cAddress): InMemoryConnection;
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
  // Containers may repeat any header. Node's types do not know the option.
  strictSingleValueFields: false,
};

export function openContainerSessions({ http1, probeAfterMs }: { http1: Pick<Http1, "requests">; probeAfterMs: number }): ContainerSessions {
  const byAddress = new WeakMap<H2cAddress, ContainerSession>();
  const open = new Set<ContainerSession>();
  return {
    connect: (address) => {
      let session = byAddress.get(address);
      if (session === undefined || !session.isBelowLimit) {
        const opened = new ContainerSession(address, { http1, probeAfterMs, onClose: () => void open.delete(opened) });
        open.add(opened);
        byAddress.set(address, opened);
        session = opened;
      }
      return session.connect();
    },
    close: () => {
      for (const session of open) session.destroy();
    },
  };
}

type ContainerSessionDeps = { http1: Pick<Http1, "requests">; probeAfterMs: number; onClose: () => void };

/** One HTTP/2 connection to a container. It closes with the last connection that uses it. */
class ContainerSession {
  readonly #session: ClientHttp2Session;
  readonly #http1: Pick<Http1, "requests">;
  readonly #streams = new Set<ContainerStream>();
  #connected = false;

  constructor({ host, port }: H2cAddress, { http1, probeAfterMs, onClose }: ContainerSessionDeps) {
    this.#http1 = http1;
    const socket = connectPlainly({ host, port, noDelay: true, keepAlive: true, keepAliveInitialDelay: probeAfterMs });
    const session = connect("http://container.invalid", { ...SESSION_OPTIONS, createConnection: () => socket });
    this.#session = session;
    session.once("connect", () => {
      session.setLocalWindowSize(MAX_SHARING * 65_536);
      this.#connected = true;
      for (const { connection } of this.#streams) connection.emit("connect");
    });
    session.on("error", (error) => this.#abandon(error));
    // Streams that the container has accepted go on; nothing new is sent there.
    session.once("goaway", () => this.#leaveIdle());
    session.once("close", () => {
      this.#abandon(undefined);
      onClose();
    });
  }

  get isBelowLimit(): boolean {
    return !this.#session.closed && !this.#session.destroyed && this.#streams.size < MAX_SHARING;
  }

  connect(): InMemoryConnection {
    const stream = new ContainerStream(this.#session, {
      http1: this.#http1,
      onClose: (closed) => {
        this.#streams.delete(closed);
        if (this.#streams.size > 0) return;
        // A close waits for a connect, which may take minutes where no one answers.
        if (this.#connected) this.#session.close();
        else this.#session.destroy();
      },
    });
    this.#streams.add(stream);
    const { connection } = stream;
    if (this.#connected) process.nextTick(() => connection.emit("connect"));
    return connection;
  }

  destroy(): void {
    this.#session.destroy();
  }

  #abandon(error: Error | undefined): void {
    for (const { connection } of this.#streams) connection.destroy(error);
  }

  #leaveIdle(): void {
    for (const { connection, idle } of this.#streams) if (idle) connection.destroy();
  }
}
