import { createServer, type Server, type ServerOpts, type Socket } from "node:net";
import { createServer as createSecureServer, type Server as SecureServer } from "node:tls";
import type { Clock } from "../../lib/clock.ts";
import type { AdmittedConnection, ConnectionLimits } from "../../lib/connection-limits.ts";
import type { Log } from "../../lib/log.ts";
import type { Fault } from "../../lib/fault.ts";
import type { Decide, DirectResponse, Forward, PlainForward } from "../decision.ts";
import type { ExchangeObserver } from "../access-record.ts";
import type { GatewayLimits } from "../limits.ts";
import type { Metrics } from "../../lib/metrics/open-metrics.ts";
import { keepKeys, type TlsKeys } from "../tls-keys.ts";
import type { NetConnection } from "./connection.ts";
import type { ConnectionFactory } from "./open-connections.ts";

/** `splice` works on sockets; `http-proxy` on Node's HTTP server and the library of that name. */
export const ENGINE_NAMES = ["splice", "http-proxy"] as const;
export type EngineName = (typeof ENGINE_NAMES)[number];

/** Takes over a connection that is paused, with the bytes that came first. */
export type TakeHttp2 = (connection: NetConnection, first: Buffer) => void;

export type ForwardingEngineDeps<Forwarded extends Forward = PlainForward> = {
  decide: Decide<Forwarded>;
  /** The response to bytes that are not a request. Default: as the REST API responds. */
  refusal?: (fault: Fault) => DirectResponse;
  limits: GatewayLimits;
  connections: ConnectionFactory;
  /** Makes the server a TLS server. */
  tls: TlsKeys | undefined;
  /** Offers HTTP/2 to TLS clients. Default: only HTTP/1.1. */
  http2?: boolean | undefined;
  /** Takes over the connections of clients that speak HTTP/2 without TLS; the splice engine only. Default: they are refused. */
  takeHttp2?: TakeHttp2 | undefined;
  /** Admits connections. */
  bounds: ConnectionLimits;
  watch: ExchangeObserver;
  counts: EngineCounts;
  clock: Clock;
  log: Log;
};

type EngineCounts = Pick<
  Metrics,
  "connections" | "webSockets" | "pooled" | "connects" | "retries" | "http2Sessions" | "http2Streams" | "http2Broken"
>;

/** Reads requests, calls `decide`, and executes the decision. */
export type ForwardingEngine = {
  /** The caller makes it listen, on a handle that workers may share. */
  server: Server;
  /** Stops accepting, closes WebSockets with 1012, waits at most `ms` for requests to finish, then closes. */
  drain(ms: number): Promise<void>;
  /** Ends everything at once. */
  close(): Promise<void>;
};

/**
 * A server of plain or TLS connections. `onConnection` receives each admitted connection when it can carry a request: a TLS one after its handshake,
 * with the TCP connection `under` it. The caller releases the admission of a plain connection.
 */
export function openEdgeServer(
  options: ServerOpts,
  {
    tls,
    http2 = false,
    handshakeMs,
    bounds,
  }: { tls: TlsKeys | undefined; http2?: boolean | undefined; handshakeMs: number; bounds: ConnectionLimits },
  onConnection: (socket: Socket, admission: AdmittedConnection, under?: Socket) => void,
): Server {
  const admit = (socket: Socket): AdmittedConnection | undefined => {
    // A guard of the listener has refused it.
    if (socket.destroyed) return undefined;
    const admission = bounds.admit(socket.remoteAddress);
    if (admission === undefined) socket.destroy();
    return admission;
  };
  if (tls === undefined)
    return createServer(options, (socket) => {
      const admission = admit(socket);
      if (admission !== undefined) onConnection(socket, admission);
    });
  const under = new Map<string, { socket: Socket; admission: AdmittedConnection }>();
  // Half-open only after the handshake: else a client that leaves within it would occupy its place until the timeout.
  const server = createSecureServer({ ...options, ...tlsServerOptions(tls, handshakeMs, http2), allowHalfOpen: false }, (socket) => {
    socket.allowHalfOpen = options.allowHalfOpen ?? false;
    const below = under.get(nameOf(socket));
    if (below === undefined) socket.destroy();
    else onConnection(socket, below.admission, below.socket);
  });
  server.on("connection", (socket: Socket) => {
    const name = nameOf(socket);
    const admission = admit(socket);
    if (admission === undefined) return;
    under.set(name, { socket, admission });
    socket.once("close", () => {
      admission.release();
      if (under.get(name)?.socket === socket) under.delete(name);
    });
  });
  keepKeys(server, tls);
  return server;
}

/** Options of a TLS server. `http2`: clients may choose HTTP/2; else only HTTP/1.1 is offered. */
export function tlsServerOptions(
  tls: TlsKeys,
  handshakeMs: number,
  http2 = false,
): { cert: string; key: string; handshakeTimeout: number; ALPNProtocols: string[] } {
  return { ...tls.current(), handshakeTimeout: handshakeMs, ALPNProtocols: http2 ? ["h2", "http/1.1"] : ["http/1.1"] };
}

/** Connections within their TLS handshake. No engine has them yet, but the server does not close before they end. */
type Handshakes = { count(): number; destroy(): void };

/** `onLess` is called when a handshake ends, with or without success. A plain server has none. */
export function watchHandshakes(server: Server, tls: TlsKeys | undefined, onLess: () => void): Handshakes {
  const open = new Map<string, Socket>();
  if (tls !== undefined) {
    const over = (name: string) => {
      if (open.delete(name)) onLess();
    };
    server.on("connection", (socket: Socket) => {
      const name = nameOf(socket);
      open.set(name, socket);
      socket.once("close", () => over(name));
    });
    (server as SecureServer).on("secureConnection", (socket) => over(nameOf(socket)));
  }
  return {
    count: () => open.size,
    destroy: () => {
      for (const socket of open.values()) socket.destroy();
    },
  };
}

/** Identifies a connection before and after the handshake, which replaces the socket object. */
function nameOf({ remoteAddress, remotePort }: Socket): string {
  return `${remoteAddress} ${remotePort}`;
}

/** A flood of connections has no end. */
const MAX_TURNS = 10_000;

/**
 * Accepts what has come, one connection of each listener in a turn: the kernel resets those that wait at a listener of its own when that closes.
 * `accepted`: how many have come so far.
 */
export async function acceptWaiting(accepted: () => number): Promise<void> {
  // Within an event of the kernel, the first immediate comes before the next look for events.
  await nextImmediate();
  for (let turns = 0, before = -1; before !== accepted() && turns < MAX_TURNS; turns++) {
    before = accepted();
    await nextImmediate();
  }
}

function nextImmediate(): Promise<void> {
  return new Promise((resolve) => void setImmediate(resolve));
}
