import { type Server, createServer, type ServerOpts, type Socket } from "node:net";
import type { Clock } from "../../lib/clock.ts";
import type { ConnectionLimits, AdmittedConnection } from "../../lib/connection-limits.ts";
import type { Log } from "../../lib/log.ts";
import type { Fault } from "../../lib/fault.ts";
import type { DirectResponse, Decide } from "../decision.ts";
import type { ExchangeObserver } from "../access-record.ts";
import type { GatewayLimits } from "../limits.ts";
import type { Metrics } from "../../lib/metrics/open-metrics.ts";
import { type TlsKeys, keepKeys } from "../tls-keys.ts";
import type { ReadMode } from "./open-connections.ts";
import { createServer as createSecureServer, type Server as SecureServer } from "node:tls";

/** What there is: `splice` works on sockets; `http-proxy` on Node's own HTTP server and the library of that name. */
export const ENGINE_NAMES = ["splice", "http-proxy"] as const;
export type EngineName = (typeof ENGINE_NAMES)[number];

export type ForwardingEngineDeps = {
  decide: Decide;
  /** What is said to bytes that are no request, as clients of this listener read it; as those of the REST API do where it is left out. */
  refusal?: (fault: Fault) => DirectResponse;
  limits: GatewayLimits;
  reads: ReadMode;
  /** With them the server speaks TLS. */
  tls: TlsKeys | undefined;
  /** Which connections are taken. */
  bounds: ConnectionLimits;
  watch: ExchangeObserver;
  /** What it counts of its connections. */
  counts: EngineCounts;
  clock: Clock;
  log: Log;
};

export type EngineCounts = Pick<Metrics, "connections" | "webSockets" | "pooled" | "connects" | "retries">;

/** Reads what clients send, asks `decide` what is to be done with it, and does it. */
export type ForwardingEngine = {
  /** The caller lets it listen, on a handle that workers may share. */
  server: Server;
  /** Takes no more connections, tells WebSockets to come again elsewhere and lets requests finish for at most `ms`; then closes. */
  drain(ms: number): Promise<void>;
  /** Ends everything at once. */
  close(): Promise<void>;
};

/**
 * A server of plain or, with `tls`, of TLS connections. `onConnection` gets each that `bounds` admits once bytes of a request may come from it, and
 * of a TLS one the TCP connection under it; of a plain one, the admission is to be released at its end.
 */
export function openEdgeServer(
  options: ServerOpts,
  { tls, handshakeMs, bounds }: { tls: TlsKeys | undefined; handshakeMs: number; bounds: ConnectionLimits },
  onConnection: (socket: Socket, admission: AdmittedConnection, under?: Socket) => void,
): Server {
  /** One that is not admitted is closed, without an event. */
  const admit = (socket: Socket): AdmittedConnection | undefined => {
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
  // Half-open only from then on: a client that leaves within the handshake would else be waited for until its time is up.
  const server = createSecureServer({ ...options, ...secured(tls, handshakeMs), allowHalfOpen: false }, (socket) => {
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

/** What a TLS server takes beside what a plain one does. HTTP/1.1 is all that is spoken here; `handshakeMs` is how long agreeing on keys may take. */
export function secured(tls: TlsKeys, handshakeMs: number): { cert: string; key: string; handshakeTimeout: number; ALPNProtocols: string[] } {
  return { ...tls.current(), handshakeTimeout: handshakeMs, ALPNProtocols: ["http/1.1"] };
}

/** The connections of a server that have not agreed on keys yet: no engine knows them, and the server does not close before they are gone. */
export type Handshakes = { count(): number; destroy(): void };

/** `onLess` is called whenever one has ended, either way. Of a plain server there are none. */
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

/** The same before and after: one socket becomes another by the handshake. */
function nameOf({ remoteAddress, remotePort }: Socket): string {
  return `${remoteAddress} ${remotePort}`;
}
