import { createServer, type Server, type ServerOpts, type Socket } from "node:net";
import { createServer as createSecureServer, type Server as SecureServer } from "node:tls";
import type { AdmittedConnection, ConnectionLimits } from "../../lib/connection-limits.ts";
import { keepKeys, type TlsKeys } from "../tls-keys.ts";

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
