import type { IncomingMessage } from "node:http";
import type { Duplex } from "node:stream";
import { WebSocketServer } from "ws";

export type RefuseWebSocket = (exchange: { request: IncomingMessage; socket: Duplex; head: Buffer; code: number; reason: string }) => void;

/** Accepts a WebSocket only to close it with a code and a reason, which its client can show. */
export function openRefuseWebSocket(): RefuseWebSocket {
  const server = new WebSocketServer({ noServer: true, perMessageDeflate: false, clientTracking: false });
  return ({ request, socket, head, code, reason }) => {
    server.handleUpgrade(request, socket, head, (refused) => {
      refused.on("error", () => undefined);
      refused.close(code, reason);
    });
    // Whoever read it before has paused it, and the client's own close must be read.
    socket.resume();
  };
}
