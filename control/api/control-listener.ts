import { once } from "node:events";
import { createServer, type RequestListener, type Server, type ServerResponse } from "node:http";
import { Server as NetServer } from "node:net";
import type { Clock } from "../../lib/clock.ts";
import { limitConnections, createConnectionLimits } from "../../lib/connection-limits.ts";
import type { Log } from "../../lib/log.ts";
import { createServer as createSecureServer, type Server as SecureServer, type ServerOptions } from "node:https";
import type { PrivateListeners } from "../../lib/container-peers.ts";

/** A certificate with its key, and how a server receives their replacements. */
export type ListenerTls = { current(): { cert: string; key: string }; keep(server: SecureServer): void };

export type ControlListenerOptions = {
  /** A bound socket. */
  handle: object;
  /** Undefined: no TLS. */
  tls: ListenerTls | undefined;
  /** Times in milliseconds. */
  limits: Pick<ServerOptions, "requestTimeout" | "headersTimeout" | "keepAliveTimeout"> & { connections: number };
  answer: RequestListener;
  /** How long requests in progress may take at the end; event streams end at once. In milliseconds. */
  graceMs?: number;
  /** Refuses connections of containers. */
  listeners?: PrivateListeners | undefined;
  clock: Clock;
  log: Log;
};

const HANDSHAKE_MS = 10_000;
/** How long the listener waits at its end for the first request of a new connection. */
const FIRST_REQUEST_MS = 300;

/** A listener of control beside its Unix sockets: bounded, HTTP/1.1 only, no upgrades. `close` also ends open requests. */
export async function openControlListener(parts: ControlListenerOptions): Promise<{ close(): Promise<void> }> {
  const { handle, tls, answer, graceMs, listeners, clock, log } = parts;
  const { connections, ...limits } = parts.limits;
  const open = new Set<ServerResponse>();
  let closing = false;
  const listener: RequestListener = (request, response) => {
    if (closing) response.shouldKeepAlive = false;
    open.add(response);
    response.once("close", () => open.delete(response));
    answer(request, response);
  };
  const server = tls ? openSecureServer({ ...limits, ...tls.current() }, tls, listener) : createServer(limits, listener);
  // One address has at most half of them: these listeners have few clients.
  limitConnections(server, createConnectionLimits({ perAddress: Math.ceil(connections / 2), total: connections, clock, log }));
  listeners?.guard(server);
  server.on("upgrade", (_request, socket) => socket.destroy());
  server.listen(handle);
  await once(server, "listening");
  return {
    close: async () => {
      if (graceMs === undefined) {
        const closed = new Promise<void>((resolve) => server.close(() => resolve()));
        server.closeAllConnections();
        return closed;
      }
      // Not http's own close: it also ends new connections whose first request has not arrived.
      const closed = new Promise<void>((resolve) => NetServer.prototype.close.call(server, () => resolve()));
      closing = true;
      for (const response of open) {
        response.shouldKeepAlive = false;
        if (isEventStream(response)) response.destroy();
      }
      const cancels = [
        clock.after(Math.min(FIRST_REQUEST_MS, graceMs), () => server.closeIdleConnections()),
        clock.after(graceMs, () => server.closeAllConnections()),
      ];
      await closed;
      for (const cancel of cancels) cancel();
    },
  };
}

function isEventStream(response: ServerResponse): boolean {
  return String(response.getHeader("content-type") ?? "").startsWith("text/event-stream");
}

function openSecureServer(options: ServerOptions, tls: ListenerTls, answer: RequestListener): Server {
  const server = createSecureServer({ ...options, handshakeTimeout: HANDSHAKE_MS, ALPNProtocols: ["http/1.1"] }, answer);
  tls.keep(server);
  return server;
}
