/** A program that echoes the frames of WebSockets, writes the codes with which they close, and answers other requests with its process id; \`/slow\` after a second. */
export const WEBSOCKET_APP = `const { createHash } = require("node:crypto");
const server = require("node:http").createServer((request, response) => {
  setTimeout(() => response.end(String(process.pid)), request.url === "/slow" ? 1_000 : 0);
});
server.on("upgrade", (request, socket) => {
  const accept = createHash("sha1").update(request.headers["sec-websocket-key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest("base64");
  socket.write("HTTP/1.1 101 Switching Protocols\\r\\nUpgrade: websocket\\r\\nConnection: Upgrade\\r\\nSec-WebSocket-Accept: " + accept + "\\r\\n\\r\\n");
  socket.on("error", () => undefined);
  let bytes = Buffer.alloc(0);
  socket.on("data", (more) => {
    bytes = Buffer.concat([bytes, more]);
    while (bytes.length >= 6 + (bytes[1] & 127)) {
      const length = bytes[1] & 127;
      const payload = Buffer.from(bytes.subarray(6, 6 + length)).map((byte, index) => byte ^ bytes[2 + (index % 4)]);
      socket.write(Buffer.concat([Buffer.from([bytes[0], length]), payload]));
      if ((bytes[0] & 15) === 8) {
        console.log("closed with " + payload.readUInt16BE(0));
        socket.end();
      }
      bytes = bytes.subarray(6 + length);
    }
  });
});
server.listen(Number(process.env.PORT ?? 8080), process.env.PORT ? "127.0.0.1" : "0.0.0.0");
`;
