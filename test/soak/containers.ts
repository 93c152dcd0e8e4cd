/**
 * Containers as clients and gateways meet them, in a process of their own: one server, reached by many addresses. What it does is in the
 * path. Before it does nothing more it sends 103, so that the waiting client behind a gateway knows how far its request has come.
 */
import { createHash } from "node:crypto";
import { createServer, type AddressInfo, type Socket } from "node:net";

const EARLY = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
const PIECE = Buffer.alloc(16_384, "x");

const ACTS: Record<string, (socket: Socket, head: string) => void> = {
  "/ok": (socket) => void socket.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
  "/never": (socket) => void socket.write(EARLY),
  "/first-chunk": (socket) => void socket.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n"),
  "/part": (socket) => {
    socket.write("HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\nfirst");
    for (let piece = 0; piece < 8; piece++) socket.write(PIECE);
  },
  "/dies": (socket) => void socket.resetAndDestroy(),
  "/refuses": (socket) => void socket.write("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno"),
  "/ws": (socket, head) => {
    const key = /sec-websocket-key: (.*)\r\n/i.exec(head)?.[1] ?? "";
    const accept = createHash("sha1").update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest("base64");
    socket.write(`HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`);
    // Whatever comes is answered with a text frame.
    socket.on("data", () => void socket.write("\x81\x05hello", "latin1"));
  },
};

/** What leaves a connection on which the next request may come. */
const ANSWERED = new Set(["/ok", "/refuses"]);

const server = createServer({ noDelay: true }, (socket) => {
  let head = "";
  const take = (text: string) => {
    head += text;
    for (let end = head.indexOf("\r\n\r\n"); end !== -1; end = head.indexOf("\r\n\r\n")) {
      const [, path = ""] = /^[A-Z]+ (\S+) /.exec(head) ?? [];
      const whole = head.slice(0, end + 4);
      head = head.slice(end + 4);
      const act = ACTS[path];
      if (act === undefined) return void socket.destroy();
      // Elsewhere what follows is no request.
      if (!ANSWERED.has(path)) socket.off("data", take);
      act(socket, whole);
    }
  };
  socket.setEncoding("latin1");
  socket.on("data", take);
  socket.on("error", () => undefined);
  socket.resume();
});

server.listen({ port: 0, host: "0.0.0.0", backlog: 4_096 }, () => void process.send?.({ port: (server.address() as AddressInfo).port }));
process.once("disconnect", () => process.exit(0));
