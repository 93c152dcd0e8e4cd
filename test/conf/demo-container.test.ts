import { spawn } from "node:child_process";
import { once } from "node:events";
import { connect } from "node:net";
import { join } from "node:path";
import { createInterface } from "node:readline";
import t from "tap";
import WebSocket from "ws";
import { DEMO_FOLDER } from "../../conf/demo.ts";

/** The demo container by itself, on a port that `PORT` names. */
const child = spawn(process.execPath, ["server.mjs"], {
  cwd: join(DEMO_FOLDER, "dockerfiles/square"),
  env: { PORT: "0" },
  stdio: ["ignore", "pipe", "inherit"],
});
t.teardown(() => child.kill());
const [line] = (await once(createInterface({ input: child.stdout }), "line")) as [string];
const port = Number(/\d+$/.exec(line)?.[0]);
const base = `http://127.0.0.1:${port}`;

t.test("it squares, and says what is wrong with what it cannot square", async (t) => {
  t.equal(await (await fetch(`${base}/square?number=4`)).text(), '{"result":16}');
  t.equal((await fetch(`${base}/square?number=four`)).status, 400);
  t.equal((await fetch(`${base}/square`)).status, 400);
  t.equal((await fetch(`${base}/other`)).status, 404);
  t.equal((await fetch(`${base}//`)).status, 404);
  t.match(await (await fetch(base)).text(), /\/square.*\n.*\/ws/);
});

t.test("it echoes text and binary over WebSocket, and its close has the caller's code", async (t) => {
  const socket = new WebSocket(`ws://127.0.0.1:${port}/ws`);
  await once(socket, "open");
  const long = "ü".repeat(20_000);
  for (const [sent, binary] of [
    ["hello", false],
    ["", false],
    [long, false],
    [Buffer.from([0, 1, 255]), true],
  ] as const) {
    socket.send(sent);
    const [message, isBinary] = (await once(socket, "message")) as [Buffer, boolean];
    t.same(message, Buffer.from(sent));
    t.equal(isBinary, binary);
  }
  socket.ping("still there?");
  t.equal(String((await once(socket, "pong"))[0]), "still there?");
  socket.close(4001, "enough");
  const [code, reason] = (await once(socket, "close")) as [number, Buffer];
  t.equal(code, 4001);
  t.equal(String(reason), "enough");
});

t.test("it takes a frame that comes in pieces, and refuses one that is too long", async (t) => {
  const socket = connect(port, "127.0.0.1");
  const answer: Buffer[] = [];
  socket.on("data", (piece: Buffer) => answer.push(piece));
  socket.write(
    "GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
  );
  const frame = Buffer.from([0x81, 0x82, 0, 0, 0, 0, 0x68, 0x69]);
  for (const byte of frame) socket.write(Buffer.from([byte]));
  socket.write(Buffer.from([0x82, 0xff]));
  await once(socket, "end");
  socket.destroy();
  const text = Buffer.concat(answer).toString("latin1");
  t.match(text, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", "the key's answer that RFC 6455 gives as its example");
  t.ok(text.endsWith("\x81\x02hi\x88\x02\x03\xf1"), "echo, then close 1009");
});

t.test("it ends at once after a stop signal", async (t) => {
  child.kill("SIGTERM");
  const [code] = (await once(child, "exit")) as [number];
  t.equal(code, 0);
});
