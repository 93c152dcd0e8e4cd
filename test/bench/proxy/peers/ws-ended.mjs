// A proxy that ends frames on both sides with ws, as a gateway made of WebSocket libraries does.
import { createServer } from "node:http";
import { WebSocket, WebSocketServer } from "ws";
import { decide, listen } from "./same-work.mjs";

const server = createServer((_, response) => void response.writeHead(404).end());
const accepting = new WebSocketServer({ noServer: true, perMessageDeflate: false });
server.on("upgrade", (request, socket, head) => {
  const decision = decide(request.url, request.headers.authorization);
  if (decision.status !== undefined) return void socket.destroy();
  const upstream = new WebSocket(decision.target.replace("http", "ws") + decision.path, {
    perMessageDeflate: false,
    headers: { "x-user-api-key": decision.token },
  });
  upstream.once("error", () => socket.destroy());
  upstream.once("open", () => {
    accepting.handleUpgrade(request, socket, head, (client) => {
      client.on("message", (data, binary) => upstream.send(data, { binary }));
      upstream.on("message", (data, binary) => client.send(data, { binary }));
      client.once("error", () => upstream.terminate()).once("close", () => upstream.close());
      upstream.once("close", () => client.close());
    });
  });
});
listen(server);
