/**
 * The container for everything but small bodies: `node upstream.ts PORT`. On bare sockets, so that it costs little on the core that it shares
 * with the load.
 *
 * - `GET /head…` answers with the request's head as it came.
 * - `POST /sink` reads a body, with a length or chunked, and answers how many bytes it had.
 * - `GET /down?bytes=N` answers with so many bytes, `GET /chunked` with 64 chunks of 1 KiB.
 * - `GET /sse?ms=N&for=M` sends an event every so often, for so many milliseconds: a proxy may not tell that its client went.
 * - `GET /answers` answers how many answers and messages it has given, this one included.
 * - An upgrade to `websocket` is accepted, and each message sent back.
 */
import { createHash } from "node:crypto";
import { createServer, type Socket } from "node:net";
import { echo } from "./load/frames.ts";

const [port = "0"] = process.argv.slice(2);
const PIECE = Buffer.alloc(1_048_576, "x");
const CHUNKED = Buffer.concat([...Array.from({ length: 64 }, () => chunk(PIECE.subarray(0, 1_024))), Buffer.from("0\r\n\r\n")]);
const EVENT = chunk(Buffer.from('data: {"n":1,"text":"an event of about sixty bytes"}\n\n'));

let answers = 0;

createServer({ noDelay: true }, serve).listen(Number(port), "127.0.0.1", 4_096);
process.once("SIGTERM", () => process.exit(0));

function chunk(data: Buffer): Buffer {
  return Buffer.concat([Buffer.from(`${data.length.toString(16)}\r\n`), data, Buffer.from("\r\n")]);
}

function serve(socket: Socket): void {
  socket.on("error", () => socket.destroy());
  let read: (piece: Buffer) => void = head;
  let before: Buffer | undefined;
  socket.on("data", (piece: Buffer) => read(piece));

  function head(piece: Buffer): void {
    const all = before === undefined ? piece : Buffer.concat([before, piece]);
    const end = all.indexOf("\r\n\r\n");
    if (end === -1) {
      before = all;
      return;
    }
    before = undefined;
    const text = all.toString("latin1", 0, end);
    const rest = all.subarray(end + 4);
    answer(text, rest);
  }

  function answer(text: string, rest: Buffer): void {
    const [, path = "", query = ""] = /^\S+ ([^? ]*)\??(\S*) /.exec(text) ?? [];
    const parameters = new URLSearchParams(query);
    if (path.startsWith("/head")) return respond(Buffer.from(text), rest);
    if (path === "/sink") return sink(text, rest);
    if (path === "/down") return down(Number(parameters.get("bytes")), rest);
    if (path === "/answers") return respond(Buffer.from(String(answers + 1)), rest);
    if (path === "/chunked") {
      answers++;
      socket.write(Buffer.concat([Buffer.from("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n"), CHUNKED]));
      return next(rest);
    }
    if (path === "/sse") return events(Number(parameters.get("ms")), Number(parameters.get("for")));
    if (path === "/ws") return webSocket(text, rest);
    socket.end("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
  }

  function respond(body: Buffer, rest: Buffer): void {
    answers++;
    socket.write(Buffer.concat([Buffer.from(`HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: ${body.length}\r\n\r\n`), body]));
    next(rest);
  }

  function next(rest: Buffer): void {
    read = head;
    if (rest.length > 0) head(rest);
  }

  function sink(text: string, rest: Buffer): void {
    const length = /^content-length: *(\d+)/im.exec(text)?.[1];
    if (length === undefined) return sinkChunks(rest);
    const total = Number(length);
    let left = total;
    read = (piece) => {
      if (piece.length < left) {
        left -= piece.length;
        return;
      }
      const after = piece.subarray(left);
      respond(Buffer.from(String(total)), after);
    };
    read(rest);
  }

  /** Counts chunk by chunk; a size line may arrive in pieces. */
  function sinkChunks(rest: Buffer): void {
    let total = 0;
    let left = 0;
    let held = Buffer.alloc(0);
    read = (piece) => {
      let data = held.length === 0 ? piece : Buffer.concat([held, piece]);
      held = Buffer.alloc(0);
      while (data.length > 0) {
        if (left > 0) {
          const part = Math.min(left, data.length);
          left -= part;
          data = data.subarray(part);
          continue;
        }
        const end = data.indexOf("\r\n", data[0] === 13 ? 2 : 0);
        if (end === -1 || data.length < end + 4) {
          held = Buffer.from(data);
          return;
        }
        const size = Number.parseInt(data.toString("latin1", data[0] === 13 ? 2 : 0, end), 16);
        if (size === 0) return respond(Buffer.from(String(total)), data.subarray(end + 4));
        total += size;
        left = size;
        data = data.subarray(end + 2);
      }
    };
    read(rest);
  }

  function down(bytes: number, rest: Buffer): void {
    socket.write(`HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: ${bytes}\r\n\r\n`);
    let left = bytes;
    const more = () => {
      while (left > 0) {
        const part = Math.min(left, PIECE.length);
        left -= part;
        if (!socket.write(part === PIECE.length ? PIECE : PIECE.subarray(0, part))) break;
      }
      if (left === 0) socket.off("drain", more);
    };
    socket.on("drain", more);
    more();
    next(rest);
  }

  function events(ms: number, forMs: number): void {
    socket.write("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n");
    const timer = setInterval(() => socket.write(EVENT), ms);
    const over = setTimeout(() => socket.destroy(), forMs);
    socket.once("close", () => {
      clearInterval(timer);
      clearTimeout(over);
    });
  }

  function webSocket(text: string, rest: Buffer): void {
    const key = /^sec-websocket-key: *(\S+)/im.exec(text)?.[1] ?? "";
    const accept = createHash("sha1").update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest("base64");
    socket.write(`HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`);
    read = echo(
      (frames) => {
        answers++;
        socket.write(frames);
      },
      () => socket.end(),
    );
    if (rest.length > 0) read(rest);
  }
}
