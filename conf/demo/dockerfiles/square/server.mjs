// The demo container: squares numbers over HTTP and echoes over WebSocket, with nothing but Node itself.
import { createHash } from "node:crypto";
import { createServer } from "node:http";

const OFFER = `This container offers:
  GET /square?number=4   {"result":16}
  WebSocket /ws          every message comes back
`;

const server = createServer((request, response) => {
  const [path, query] = split(request.url);
  if (path === "/") return answer(response, 200, "text/plain; charset=utf-8", OFFER);
  if (path !== "/square") return answer(response, 404, "application/json", JSON.stringify({ error: `There is no ${path}` }));
  const text = new URLSearchParams(query).get("number") ?? "";
  const number = Number(text);
  if (text.trim() === "" || !Number.isFinite(number)) {
    return answer(response, 400, "application/json", JSON.stringify({ error: "number takes a number, e.g. /square?number=4" }));
  }
  return answer(response, 200, "application/json", JSON.stringify({ result: number * number }));
});

// By hand: the path comes byte for byte as the caller wrote it, and not each can be parsed as a URL (`//`).
function split(target) {
  const at = target.indexOf("?");
  return at < 0 ? [target, ""] : [target.slice(0, at), target.slice(at + 1)];
}

function answer(response, status, type, body) {
  response.writeHead(status, { "content-type": type });
  response.end(body);
}

server.on("upgrade", (request, socket, head) => {
  socket.on("error", () => socket.destroy());
  const key = request.headers["sec-websocket-key"];
  if (split(request.url)[0] !== "/ws" || key === undefined) {
    return socket.end("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
  }
  // RFC 6455 section 4.2.2: the proof that this server speaks WebSocket.
  const accept = createHash("sha1").update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest("base64");
  socket.write(`HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`);
  let pending = head;
  const take = (bytes) => {
    pending = Buffer.concat([pending, bytes]);
    for (let frame = readFrame(pending); frame !== undefined; frame = readFrame(pending)) {
      pending = pending.subarray(frame.length);
      if (!echo(socket, frame)) return socket.end();
    }
  };
  socket.on("data", take);
  take(Buffer.alloc(0));
});

// RFC 6455 section 5.2, for frames of at most 65 535 bytes: FIN and opcode, then the mask bit and a length of 7 or 16 bits, then
// four bytes of mask, which every client's frame has, then the payload. Undefined until the whole frame has come.
function readFrame(bytes) {
  if (bytes.length < 2) return undefined;
  const short = bytes[1] & 0x7f;
  if (short === 127 || (bytes[1] & 0x80) === 0) return { length: bytes.length, close: short === 127 ? 1009 : 1002 };
  const maskAt = short === 126 ? 4 : 2;
  if (bytes.length < maskAt) return undefined;
  const size = short === 126 ? bytes.readUInt16BE(2) : short;
  const length = maskAt + 4 + size;
  if (bytes.length < length) return undefined;
  const payload = Buffer.from(bytes.subarray(maskAt + 4, length));
  for (let at = 0; at < size; at++) payload[at] ^= bytes[maskAt + (at % 4)];
  return { length, first: bytes[0], payload };
}

// Sends a frame back as it came, so that text stays text and fragments stay fragments. False: this was the last one.
function echo(socket, frame) {
  const opcode = frame.first & 0x0f;
  if (frame.close !== undefined) {
    const code = Buffer.alloc(2);
    code.writeUInt16BE(frame.close);
    send(socket, 0x88, code);
    return false;
  }
  if (opcode === 0x0a) return true; // a pong
  send(socket, opcode === 0x09 ? 0x8a : frame.first, frame.payload);
  return opcode !== 0x08; // a close is answered with its own code, and ends it
}

function send(socket, first, payload) {
  const head = payload.length < 126 ? Buffer.from([first, payload.length]) : Buffer.from([first, 126, payload.length >> 8, payload.length & 0xff]);
  socket.write(Buffer.concat([head, payload]));
}

// The first process of a container gets no default action for signals: without this, each stop would last until it is killed.
process.on("SIGTERM", () => process.exit(0));
server.listen(Number(process.env.PORT ?? 8080), () => console.log(`listening on ${server.address().port}`));
