// The container that `berth doctor` starts: it answers, sends back what a WebSocket sends, and counts in events; with nothing but Node itself.
import { createHash } from "node:crypto";
import { createServer } from "node:http";

const ANSWERS = {
  // Sends one event at once, and then stays silent until the client leaves.
  "/silent": (response) => response.write("data: there\n\n"),
  // Events some time apart, as a program writes them.
  "/events": (response, { every, count }) => {
    let sent = 0;
    const send = () => {
      response.write(`data: ${++sent}\n\n`);
      if (sent < count) timer = setTimeout(send, every);
      else response.end();
    };
    let timer = setTimeout(send, 0);
    response.on("close", () => clearTimeout(timer));
  },
};

const server = createServer((request, response) => {
  const { pathname, searchParams } = new URL(request.url, "http://echo");
  const answer = ANSWERS[pathname];
  if (answer === undefined) return response.end("berth doctor");
  response.writeHead(200, { "content-type": "text/event-stream", "cache-control": "no-cache", "x-accel-buffering": "no" });
  answer(response, { every: Number(searchParams.get("every") ?? 200), count: Number(searchParams.get("count") ?? 5) });
});

server.on("upgrade", (request, socket, head) => {
  socket.on("error", () => socket.destroy());
  // RFC 6455 section 4.2.2: the proof that this server speaks WebSocket.
  const accept = createHash("sha1").update(`${request.headers["sec-websocket-key"]}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest("base64");
  socket.write(`HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`);
  let pending = head;
  const take = (bytes) => {
    pending = Buffer.concat([pending, bytes]);
    // Whole frames, masked as a client's are, of at most 125 bytes: the doctor sends no longer ones.
    while (pending.length >= 6 && pending.length >= 6 + (pending[1] & 0x7f)) {
      const size = pending[1] & 0x7f;
      const payload = Buffer.from(pending.subarray(6, 6 + size));
      for (let at = 0; at < size; at++) payload[at] ^= pending[2 + (at % 4)];
      const opcode = pending[0] & 0x0f;
      pending = pending.subarray(6 + size);
      if (opcode === 0x0a) continue; // a pong
      socket.write(Buffer.concat([Buffer.from([opcode === 0x09 ? 0x8a : 0x80 | opcode, size]), payload]));
      if (opcode === 0x08) socket.end();
    }
  };
  socket.on("data", take);
  take(Buffer.alloc(0));
});

// The first process of a container gets no default action for signals: without this, each stop would last until it is killed.
process.on("SIGTERM", () => process.exit(0));
server.listen(Number(process.env.PORT ?? 8080), () => console.log(`listening on ${server.address().port}`));
