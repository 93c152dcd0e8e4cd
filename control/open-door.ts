import { once } from "node:events";
import { createServer, type RequestListener, type Server } from "node:http";
import type { Clock } from "../clock.ts";
import { boundServer, connectionBounds } from "../connection-bounds.ts";
import type { Log } from "../log.ts";
import { createServer as createSecureServer, type Server as SecureServer, type ServerOptions } from "node:https";
import type { PrivateListeners } from "../container-peers.ts";

/** A certificate with its key, and who gives the server those that take their place. */
export type DoorTls = { current(): { cert: string; key: string }; keep(server: SecureServer): void };

export type DoorParts = {
  /** A bound socket. */
  handle: object;
  /** With it, TLS is spoken. */
  tls: DoorTls | undefined;
  /** Times in milliseconds. */
  limits: Pick<ServerOptions, "requestTimeout" | "headersTimeout" | "keepAliveTimeout"> & { connections: number };
  answer: RequestListener;
  /** Keeps containers from it, where they have no business there. */
  listeners?: PrivateListeners | undefined;
  clock: Clock;
  log: Log;
};

const HANDSHAKE_MS = 10_000;

/** A listener of control's own beside its Unix sockets: bounded, HTTP/1.1 alone, no upgrades. `close` ends what is open as well. */
export async function openDoor(parts: DoorParts): Promise<{ close(): Promise<void> }> {
  const { handle, tls, answer, listeners, clock, log } = parts;
  const { connections, ...limits } = parts.limits;
  const server = tls ? openSecureServer({ ...limits, ...tls.current() }, tls, answer) : createServer(limits, answer);
  // One address has half of them at most: these listeners have few clients, and none of them needs more.
  boundServer(server, connectionBounds({ perAddress: Math.ceil(connections / 2), total: connections, clock, log }));
  listeners?.guard(server);
  server.on("upgrade", (_request, socket) => socket.destroy());
  server.listen(handle);
  await once(server, "listening");
  return {
    close: async () => {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      server.closeAllConnections();
      await closed;
    },
  };
}

function openSecureServer(options: ServerOptions, tls: DoorTls, answer: RequestListener): Server {
  const server = createSecureServer({ ...options, handshakeTimeout: HANDSHAKE_MS, ALPNProtocols: ["http/1.1"] }, answer);
  tls.keep(server);
  return server;
}
