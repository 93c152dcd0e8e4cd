import { createHash } from "node:crypto";
import { createServer } from "node:http";
import { connect, type Socket } from "node:net";
import { monitorEventLoopDelay } from "node:perf_hooks";
import t, { type Test } from "tap";
import { WebSocket, WebSocketServer } from "ws";
import { Fault } from "../../../lib/fault.ts";
import type { Availability } from "../../../gateway/contract.ts";
import { frame } from "../../fixtures/frame.ts";
import { turns, pause } from "../../fixtures/clock.ts";
import { exchange, get, ID, openContainer, openRawContainer, openStand, PATH, WS_PATH, type GatewayFixture } from "../stand.ts";
import { listen, type ListenAddress } from "../../fixtures/server.ts";
import { eventually } from "../../fixtures/eventually.ts";

/** What a client saw, in order. */
type RecordedSocket = {
  socket: WebSocket;
  frames: [data: Buffer, binary: boolean][];
  pings: number;
  closed: { code: number; reason: string } | undefined;
};

function open(stand: GatewayFixture, options: { path?: string; headers?: Record<string, string>; protocols?: string[] } = {}): RecordedSocket {
  const url = `ws://127.0.0.1:${stand.port}${options.path ?? WS_PATH}`;
  const socket = new WebSocket(url, options.protocols ?? [], { headers: options.headers ?? { cookie: "a=b; auth=token" }, perMessageDeflate: true });
  const recorded: RecordedSocket = { socket, frames: [], pings: 0, closed: undefined };
  socket.on("message", (data: Buffer, binary: boolean) => recorded.frames.push([data, binary]));
  socket.on("ping", () => recorded.pings++);
  socket.on("close", (code, reason) => (recorded.closed = { code, reason: reason.toString() }));
  socket.on("error", () => undefined);
  return recorded;
}

async function openEcho(
  t: Test,
  onConnection: (socket: WebSocket, url: string | undefined) => void = () => undefined,
): Promise<ListenAddress & { server: WebSocketServer; refused: string[] }> {
  const http = createServer();
  const server = new WebSocketServer({ server: http, perMessageDeflate: true });
  server.on("connection", (socket, request) => {
    socket.on("message", (data, binary) => socket.send(data, { binary }));
    onConnection(socket, request.url);
  });
  return { ...(await listen(t, http)), server, refused: [] };
}

/** As a client writes it; the key is the sample of RFC 6455. */
const HANDSHAKE = `GET ${WS_PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: token\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n`;

/** A container's answer to a handshake. */
function switching(handshake: Buffer): string {
  const key = /sec-websocket-key: (.*)\r\n/i.exec(handshake.toString())?.[1] ?? "";
  const accept = createHash("sha1").update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest("base64");
  return `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`;
}

const texts = ({ frames }: RecordedSocket) => frames.map(([data]) => data.toString());
const connected = (recorded: RecordedSocket) => eventually("CONNECTED", () => recorded.frames.length > 0);

t.test("CONNECTED is a text frame and comes before any byte of the container", async (t) => {
  const stand = await openStand(t);
  let url: string | undefined;
  const address = await openEcho(t, (socket, protocol) => {
    url = protocol;
    socket.send(Buffer.from("hello"));
  });
  stand.set(ID, { kind: "awake", address });
  const recorded = open(stand, { path: `${WS_PATH}//ws//x?y=%zz` });
  await eventually("both", () => recorded.frames.length === 2);
  t.same(texts(recorded), ["CONNECTED", "hello"]);
  t.same(
    recorded.frames.map(([, binary]) => binary),
    [false, true],
  );
  t.equal(url, "//ws//x?y=%zz");
  recorded.socket.terminate();
  await eventually("it is counted out", () => stand.uses.get(ID)?.streams === 0);
});

t.test("a cold WebSocket is accepted at once, pinged while it waits, and its frames arrive in order", async (t) => {
  const stand = await openStand(t, { limits: { wsPingMs: 10 } });
  const address = await openEcho(t);
  stand.set(ID, { kind: "asleep" });
  const recorded = open(stand);
  await eventually("it is accepted", () => recorded.socket.readyState === WebSocket.OPEN);
  const sent = Array.from({ length: 50 }, (_, n) => (n % 2 === 0 ? `text ${n}` : `${n} `.repeat(20_000)));
  for (const text of sent.slice(0, 3)) recorded.socket.send(text);
  await eventually("it is pinged", () => recorded.pings >= 3);
  t.same(stand.wakes, [ID]);
  t.same(recorded.frames, [], "and nothing is sent before the container is there");
  t.match(stand.uses.get(ID), { open: 0, streams: 0 });
  for (const text of sent.slice(3)) recorded.socket.send(text);
  stand.set(ID, { kind: "awake", address });
  await eventually("all come back", () => recorded.frames.length === 51);
  t.same(texts(recorded), ["CONNECTED", ...sent]);
  const pings = recorded.pings;
  await pause(50);
  t.equal(recorded.pings, pings, "pings end with the wait");
  recorded.socket.terminate();
});

t.test("large, fragmented, binary and control frames pass untouched", async (t) => {
  const stand = await openStand(t);
  const address = await openEcho(t);
  stand.set(ID, { kind: "awake", address });
  const recorded = open(stand);
  await connected(recorded);
  const bodies = [0, 1, 125, 126, 127, 65_535, 65_536, 3_000_000].map((size) => Buffer.alloc(size, size % 251));
  for (const body of bodies) recorded.socket.send(body);
  recorded.socket.send("frag", { fin: false });
  recorded.socket.send("men", { fin: false });
  recorded.socket.send("ted", { fin: true });
  await eventually("all come back", () => recorded.frames.length === bodies.length + 2);
  const hash = (data: Buffer) => createHash("sha256").update(data).digest("hex");
  t.same(
    recorded.frames.slice(1, -1).map(([data]) => hash(data)),
    bodies.map(hash),
  );
  t.equal(recorded.frames.at(-1)?.[0].toString(), "fragmented");
  const ponged = new Promise<string>((resolve) => recorded.socket.once("pong", (data) => resolve(data.toString())));
  recorded.socket.ping("are you there");
  t.equal(await ponged, "are you there", "a ping is the container's to answer");
  recorded.socket.terminate();
});

t.test("no extension is agreed to on either side, and only the first subprotocol is offered on", async (t) => {
  const stand = await openStand(t);
  let offered: Record<string, unknown> = {};
  const http = createServer();
  const server = new WebSocketServer({ server: http, perMessageDeflate: true });
  server.on("connection", (_, request) => (offered = request.headers));
  stand.set(ID, { kind: "awake", address: await listen(t, http) });
  const recorded = open(stand, { protocols: ["v2.demo", "v1.demo"] });
  await connected(recorded);
  t.equal(recorded.socket.protocol, "v2.demo");
  t.equal(recorded.socket.extensions, "");
  t.match(offered, { "sec-websocket-protocol": "v2.demo", "sec-websocket-extensions": undefined, "x-user-api-key": "token" });
  recorded.socket.terminate();
});

t.test("a container that agrees to another subprotocol closes with 1002", async (t) => {
  const stand = await openStand(t);
  const http = createServer();
  const server = new WebSocketServer({ noServer: true, handleProtocols: () => "other" });
  http.on("upgrade", (request, socket, head) => {
    request.headers["sec-websocket-protocol"] = "other";
    server.handleUpgrade(request, socket, head, () => undefined);
  });
  stand.set(ID, { kind: "awake", address: await listen(t, http) });
  const recorded = open(stand, { protocols: ["mine"] });
  await eventually("it is closed", () => recorded.closed !== undefined);
  t.equal(recorded.closed?.code, 1002);
});

t.test("either side's close reaches the other with its code and reason", async (t) => {
  const stand = await openStand(t);
  let theirs: WebSocket | undefined;
  let closed: { code: number; reason: string } | undefined;
  const address = await openEcho(t, (socket) => {
    theirs = socket;
    socket.on("close", (code, reason) => (closed = { code, reason: reason.toString() }));
  });
  stand.set(ID, { kind: "awake", address });
  const first = open(stand);
  await connected(first);
  first.socket.close(4001, "I gave up");
  await eventually("the container hears", () => closed !== undefined);
  t.same(closed, { code: 4001, reason: "I gave up" });
  await eventually("the client is done", () => first.closed !== undefined);
  t.same(first.closed, { code: 4001, reason: "I gave up" });

  const second = open(stand);
  await connected(second);
  theirs?.close(4444, "that is all");
  await eventually("the client hears", () => second.closed !== undefined);
  t.same(second.closed, { code: 4444, reason: "that is all" });
  await eventually("both are counted out", () => stand.uses.get(ID)?.streams === 0);
});

t.test("a container that dies closes the client with 1011, between two frames", async (t) => {
  const stand = await openStand(t);
  const address = await openEcho(t, (socket) => socket.on("message", () => socket.terminate()));
  stand.set(ID, { kind: "awake", address });
  const recorded = open(stand);
  await connected(recorded);
  recorded.socket.send("die");
  await eventually("the client hears", () => recorded.closed !== undefined);
  t.equal(recorded.closed?.code, 1011);
});

t.test("within a frame the connection just ends", async (t) => {
  const stand = await openStand(t);
  const address = await openRawContainer(t, (socket) =>
    socket.once("data", (head: Buffer) => {
      socket.write(switching(head));
      // A text frame of 100 bytes, of which three come.
      socket.end(Buffer.from([0x81, 100, 0x61, 0x62, 0x63]));
    }),
  );
  stand.set(ID, { kind: "awake", address });
  const recorded = open(stand);
  await eventually("the client hears", () => recorded.closed !== undefined);
  t.equal(recorded.closed?.code, 1006);
  t.same(texts(recorded), ["CONNECTED"]);
});

t.test("a client that vanishes ends the container's side", async (t) => {
  const stand = await openStand(t);
  let over = false;
  const address = await openEcho(t, (socket) => socket.on("close", () => (over = true)));
  stand.set(ID, { kind: "awake", address });
  const recorded = open(stand);
  await connected(recorded);
  recorded.socket.terminate();
  await eventually("the container hears", () => over);
  await eventually("it is counted out", () => stand.uses.get(ID)?.streams === 0);
  t.pass("and nothing is left");
});

t.test("every refusal is an accept and a close that says why", async (t) => {
  const stand = await openStand(t, { limits: { proxyRequestTimeoutMs: 100, holdLimit: 0 }, origins: ["https://good.example"] });
  const { address: plain } = await openContainer(t, (_, response) => {
    response.writeHead(403);
    response.end();
  });
  const mute = await openRawContainer(t, () => undefined);
  const cookie = { cookie: "auth=token" };
  type Row = { name: string; code: number; headers?: Record<string, string>; path?: string; availability?: Availability };
  const rows: Row[] = [
    { name: "no token", headers: {}, code: 1008 },
    { name: "a bad token", headers: { cookie: "auth=bad" }, code: 1008 },
    { name: "another origin", headers: { ...cookie, origin: "https://evil.example" }, code: 1008 },
    { name: "an unknown id", headers: { ...cookie, origin: "https://good.example" }, path: WS_PATH.replace("1b9f", "ffff"), code: 1008 },
    { name: "no UUID", path: WS_PATH.replace(ID, "x"), code: 1008 },
    { name: "stopped", availability: { kind: "stopped", fault: { code: "CONTAINER_STOPPED", message: "It is stopped" } }, code: 1008 },
    {
      name: "failed",
      availability: { kind: "failed", fault: { code: "CONTAINER_CRASHED", message: "ä".repeat(100) }, wakeable: false, retryAt: 0 },
      code: 1011,
    },
    { name: "queue full", availability: { kind: "coming" }, code: 1013 },
    { name: "refused", availability: { kind: "awake", addresses: [{ host: "127.0.0.1", port: 1 }] }, code: 1011 },
    { name: "not a WebSocket", availability: { kind: "awake", addresses: [plain] }, code: 1011 },
    { name: "no answer", availability: { kind: "awake", addresses: [mute] }, code: 1011 },
  ];
  for (const { name, code, headers, path, availability } of rows) {
    if (availability !== undefined) stand.set(ID, availability);
    const recorded = open(stand, { ...(headers === undefined ? {} : { headers }), ...(path === undefined ? {} : { path }) });
    await eventually(`${name} is closed`, () => recorded.closed !== undefined);
    t.equal(recorded.closed?.code, code, `${name}: ${recorded.closed?.reason}`);
    t.ok((recorded.closed?.reason.length ?? 0) > 5, name);
    t.ok(Buffer.byteLength(recorded.closed?.reason ?? "") <= 123, name);
    t.same(texts(recorded), [], `${name}: nothing was sent`);
  }
  await eventually("nothing is left", () => stand.uses.get(ID)?.streams === 0);
});

t.test("a start that fails while a client waits closes it with the cause", async (t) => {
  const stand = await openStand(t);
  stand.set(ID, { kind: "asleep" });
  const recorded = open(stand);
  await eventually("it waits", () => stand.watchers(ID) === 1);
  stand.set(ID, { kind: "failed", fault: new Fault("CONTAINER_CRASHED", "It exited with 1").toJSON(), wakeable: true, retryAt: Date.now() + 60_000 });
  await eventually("it is closed", () => recorded.closed !== undefined);
  t.same(recorded.closed, { code: 1011, reason: "It exited with 1" });
});

t.test("a client that gives up while it waits is answered, and leaves the queue", async (t) => {
  const stand = await openStand(t);
  stand.set(ID, { kind: "asleep" });
  const polite = open(stand);
  await eventually("it waits", () => stand.watchers(ID) === 1 && polite.socket.readyState === WebSocket.OPEN);
  polite.socket.close(4001, "timed out");
  await eventually("it is closed", () => polite.closed !== undefined);
  t.same(polite.closed, { code: 4001, reason: "timed out" });
  await eventually("it left the queue", () => stand.watchers(ID) === 0 && stand.uses.get(ID)?.streams === 0);
  const rude = open(stand);
  await eventually("it waits", () => stand.watchers(ID) === 1);
  rude.socket.terminate();
  await eventually("it left the queue", () => stand.watchers(ID) === 0 && stand.uses.get(ID)?.streams === 0);
});

t.test("a close that comes in two parts, one on either side of CONNECTED, reaches the container whole", async (t) => {
  const stand = await openStand(t);
  let closed: { code: number; reason: string } | undefined;
  const address = await openEcho(t, (socket) => socket.on("close", (code, reason) => (closed = { code, reason: reason.toString() })));
  stand.set(ID, { kind: "coming" });
  const client = connect(stand.port, "127.0.0.1", () => client.write(HANDSHAKE));
  t.teardown(() => client.destroy());
  let came = "";
  client.on("data", (bytes: Buffer) => (came += bytes.toString("latin1")));
  await eventually("it is accepted", () => came.includes("101 Switching"));
  // Masked with zeros: 4001, "bye".
  client.write(Buffer.from([0x88, 0x85, 0, 0, 0, 0, 0x0f]));
  // The gateway is in this very process: it reads what has come within a few turns.
  await turns(20);
  stand.set(ID, { kind: "awake", address });
  await eventually("CONNECTED", () => came.includes("CONNECTED"));
  client.write(Buffer.from([0xa1, 0x62, 0x79, 0x65]));
  await eventually("the container hears", () => closed !== undefined);
  t.same(closed, { code: 4001, reason: "bye" });
});

t.test("an answer to a ping of the gateway's own that comes in two parts does not reach the container", async (t) => {
  const stand = await openStand(t);
  let received = Buffer.alloc(0);
  const address = await openRawContainer(t, (socket) => {
    socket.once("data", (head: Buffer) => {
      socket.write(switching(head));
      socket.on("data", (bytes: Buffer) => (received = Buffer.concat([received, bytes])));
    });
  });
  const message = Buffer.from([0x81, 0x82, 0, 0, 0, 0, 0x68, 0x69]);
  const pong = Buffer.from([0x8a, 0x82, 1, 2, 3, 4, 5, 6]);
  for (const [at] of pong.entries()) {
    received = Buffer.alloc(0);
    stand.set(ID, { kind: "coming" });
    const client = connect(stand.port, "127.0.0.1", () => client.write(HANDSHAKE));
    t.teardown(() => client.destroy());
    let came = "";
    client.on("data", (bytes: Buffer) => (came += bytes.toString("latin1")));
    await eventually("it is accepted", () => came.includes("101 Switching"));
    client.write(Buffer.concat([message, pong.subarray(0, at)]));
    // The gateway is in this very process: it reads what has come within a few turns.
    await turns(20);
    stand.set(ID, { kind: "awake", address });
    await eventually("CONNECTED", () => came.includes("CONNECTED"));
    client.write(Buffer.concat([pong.subarray(at), message]));
    await eventually("both messages", () => received.length >= 2 * message.length);
    // Once it is passed on, a whole pong is as good as any.
    t.same(received, at === 0 ? Buffer.concat([message, pong, message]) : Buffer.concat([message, message]), `cut after ${at}`);
    client.destroy();
  }
});

t.test("a client that ignores the container's end is cut off after a while", async (t) => {
  const stand = await openStand(t, { limits: { lingeringCloseMs: 50 } });
  for (const last of [Buffer.alloc(0), Buffer.from([0x88, 2, 3, 0xe8])]) {
    const address = await openRawContainer(t, (socket) =>
      socket.once("data", (head: Buffer) => socket.end(Buffer.concat([Buffer.from(switching(head)), last]))),
    );
    stand.set(ID, { kind: "awake", address });
    const client = connect({ port: stand.port, host: "127.0.0.1", allowHalfOpen: true }, () => client.write(HANDSHAKE));
    t.teardown(() => client.destroy());
    let came = "";
    client.on("data", (bytes: Buffer) => (came += bytes.toString("latin1"))).on("error", () => undefined);
    await eventually("the close", () => came.includes("\x88"));
    await eventually("it is counted out", () => stand.uses.get(ID)?.streams === 0);
    t.notOk(client.writableEnded, "the client still has its side open");
  }
});

t.test("a client that sends much while it waits feels it instead of filling the memory", async (t) => {
  const stand = await openStand(t, { limits: { prebufferBytes: 65_536 } });
  const address = await openEcho(t);
  stand.set(ID, { kind: "coming" });
  const recorded = open(stand);
  await eventually("it is accepted", () => recorded.socket.readyState === WebSocket.OPEN);
  const body = Buffer.alloc(1_048_576, 7);
  for (let n = 0; n < 32; n++) recorded.socket.send(body);
  await eventually("it waits", () => stand.watchers(ID) === 1);
  await pause(100);
  t.ok(recorded.socket.bufferedAmount > 16 * 1_048_576, `${recorded.socket.bufferedAmount} bytes stay with the client`);
  stand.set(ID, { kind: "awake", address });
  await eventually("all come back", () => recorded.frames.length === 33);
  t.ok(recorded.frames.slice(1).every(([data]) => data.equals(body)));
  recorded.socket.terminate();
});

/** An accepted WebSocket whose container is not there, as a socket. */
async function openHeld(stand: GatewayFixture, id: string, authorization: string): Promise<Socket> {
  const socket = connect(stand.port, "127.0.0.1");
  socket.on("error", () => undefined);
  const accepted = new Promise<void>((resolve) => socket.once("data", () => resolve()));
  socket.write(HANDSHAKE.replace(ID, id).replace("Authorization: token", `Authorization: ${authorization}`));
  await accepted;
  return socket;
}

const EMPTY_PING = frame(9, Buffer.alloc(0));

t.test("a flood of empty frames before CONNECTED neither fills the memory nor stands in the way of another user", async (t) => {
  const stand = await openStand(t, { limits: { prebufferUserBytes: 4 * 1_048_576 } });
  stand.tokens.set("mallory", { userId: "22222222-2222-4222-8222-222222222222", login: "mallory", admin: false });
  const asleep = "1b9f4f0c-5c8e-4c53-9a52-3f0b8e0f2d12";
  stand.set(asleep, { kind: "coming" });
  const { address } = await openContainer(t, (_, response) => void response.end("here"));
  stand.set(ID, { kind: "awake", address });
  const flood = Buffer.concat(Array.from({ length: Math.ceil(1_048_576 / EMPTY_PING.length) }, () => EMPTY_PING));
  const sockets = await Promise.all(Array.from({ length: 20 }, () => openHeld(stand, asleep, "mallory")));
  t.teardown(() => sockets.forEach((socket) => socket.destroy()));
  await eventually("all wait", () => stand.openAt(asleep).count === 20);
  const used = () => process.memoryUsage().arrayBuffers + process.memoryUsage().heapUsed;
  const before = used();
  const delays = monitorEventLoopDelay({ resolution: 5 });
  delays.enable();
  for (const socket of sockets) socket.write(flood);
  // Until no byte has moved for a while.
  const moved = () => stand.openAt(asleep).open.reduce((sum, { bytesIn }) => sum + bytesIn, 0);
  for (let last = -1, same = 0; same < 20; same = moved() === last ? same + 1 : 0, last = moved()) await pause(5);
  const from = performance.now();
  t.match(await exchange(stand.port, get(PATH)), /here/);
  t.ok(performance.now() - from < 2_000, `another user waited for ${Math.round(performance.now() - from)} ms`);
  delays.disable();
  t.ok(delays.max / 1e6 < 1_000, `the loop was held for ${Math.round(delays.max / 1e6)} ms`);
  t.ok(used() - before < 64 * 1_048_576, `${Math.round((used() - before) / 1_048_576)} MiB were taken`);
  t.ok(moved() < 4 * 1_048_576 + 20 * 131_072, `${moved()} bytes were read`);
});

t.test("what a user sent beyond the share arrives all the same, in order", async (t) => {
  const stand = await openStand(t, { limits: { prebufferUserBytes: 131_072 } });
  const address = await openEcho(t);
  stand.set(ID, { kind: "coming" });
  const all = Array.from({ length: 5 }, () => open(stand));
  await eventually("they are accepted", () => all.every(({ socket }) => socket.readyState === WebSocket.OPEN));
  const bodies = Array.from({ length: 10 }, (_, at) => Buffer.alloc(30_000, at));
  for (const { socket } of all) for (const body of bodies) socket.send(body);
  await eventually("they wait", () => stand.openAt(ID).count === 5);
  stand.set(ID, { kind: "awake", address });
  await eventually("all come back", () => all.every(({ frames }) => frames.length === 11));
  for (const { frames } of all) t.ok(frames.slice(1).every(([data], at) => data.equals(bodies[at] as Buffer)));
  for (const { socket } of all) socket.terminate();
});

t.test("a client that only sends pongs while it waits is closed with 1008", async (t) => {
  const stand = await openStand(t);
  stand.set(ID, { kind: "coming" });
  const pongs = Buffer.concat(Array.from({ length: 20_000 }, () => frame(10, Buffer.alloc(0))));
  const answer = await exchange(stand.port, Buffer.concat([Buffer.from(HANDSHAKE), pongs]), /\x88/);
  t.equal(Buffer.from(answer.slice(answer.indexOf("\x88") + 2), "latin1").readUInt16BE(), 1008);
});

t.test("a client whose frames are not masked is closed with 1002", async (t) => {
  const stand = await openStand(t);
  stand.set(ID, { kind: "coming" });
  const answer = await exchange(stand.port, Buffer.from(`${HANDSHAKE}\x81\x02hi`, "latin1"), /\x88/);
  t.match(answer, /Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK\+xOo=\r\n/, "the sample of RFC 6455");
  t.equal(Buffer.from(answer.slice(answer.indexOf("\x88") + 2), "latin1").readUInt16BE(), 1002);
});

t.test("a head that is no complete handshake is a 400", async (t) => {
  const stand = await openStand(t);
  stand.set(ID, { kind: "coming" });
  const head = `GET ${WS_PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: token\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n`;
  const answer = await exchange(stand.port, head);
  t.match(answer, /^HTTP\/1\.1 400 [^]*Content-Type: application\/json\r\n/);
  t.match(answer, /\r\nSec-WebSocket-Version: 13\r\n/);
});

t.test("a draining gateway closes WebSockets with 1012, waiting or not", async (t) => {
  const stand = await openStand(t);
  let closed = 0;
  const address = await openEcho(t, (socket) => socket.on("close", (code) => (closed = code)));
  stand.set(ID, { kind: "awake", address });
  const talking = open(stand);
  await connected(talking);
  stand.set(ID, { kind: "coming" });
  const waiting = open(stand);
  await eventually("it waits", () => stand.watchers(ID) === 2);
  await stand.gateway.drain(2_000);
  await eventually("both are closed", () => talking.closed !== undefined && waiting.closed !== undefined);
  t.equal(talking.closed?.code, 1012);
  t.equal(waiting.closed?.code, 1012);
  await eventually("the container hears the client's own answer", () => closed === 1012);
});

t.test(
  "a container that is about to stop closes its WebSockets with 1001 and the reason, of both routes; one that waits goes on waiting",
  async (t) => {
    const stand = await openStand(t);
    const closed: number[] = [];
    const address = await openEcho(t, (socket) => socket.on("close", (code) => closed.push(code)));
    stand.set(ID, { kind: "awake", address });
    const accepted = open(stand);
    await connected(accepted);
    const transparent = open(stand, { path: PATH });
    transparent.socket.on("open", () => transparent.socket.send("hello"));
    await connected(transparent);
    t.equal(stand.watchers(ID), 1, "one watch for both");
    stand.stop(ID, "A user stopped the container");
    const waiting = open(stand);
    await eventually("both are closed", () => accepted.closed !== undefined && transparent.closed !== undefined);
    const goingAway = { code: 1001, reason: "A user stopped the container" };
    t.same([accepted.closed, transparent.closed], [goingAway, goingAway]);
    await eventually("the container receives the clients' replies", () => closed.length === 2);
    t.same(closed, [1001, 1001]);
    await eventually("a stop need not wait for them", () => stand.uses.get(ID)?.streams === 0);
    stand.set(ID, { kind: "awake", address });
    await connected(waiting);
    stand.remove(ID);
    await eventually("it is closed", () => waiting.closed !== undefined);
    t.same(waiting.closed, { code: 1001, reason: "The container was removed" });
    await eventually("nothing watches", () => stand.watchers(ID) === 0);
  },
);

t.test("a replica that stops closes its own WebSockets alone", async (t) => {
  const stand = await openStand(t);
  const [own, further] = [await openEcho(t), await openEcho(t)];
  const addresses = [
    { ...own, replica: 1 },
    { ...further, replica: 2, owner: "second" },
  ];
  const serve = (count: number, stopping?: { replica: number; reason: string }[]) =>
    stand.publish({
      id: ID,
      name: "demo",
      availability: { kind: "awake", addresses: addresses.slice(0, count) },
      replicas: stopping === undefined ? {} : { stopping },
    });
  serve(2);
  const first = open(stand);
  await connected(first);
  const second = open(stand);
  await connected(second);
  const reason = "The container needs fewer replicas: connect again";
  serve(1, [{ replica: 2, reason }]);
  await eventually("it is closed", () => second.closed !== undefined);
  t.same(second.closed, { code: 1001, reason });
  await eventually("the stop need not wait for it", () => stand.uses.get("second")?.streams === 0);
  const again = open(stand);
  await connected(again);
  t.same([first.closed, again.closed], [undefined, undefined]);
});

t.test("a WebSocket that connects while its container is about to stop is closed at once", async (t) => {
  const stand = await openStand(t);
  const address = await openRawContainer(t, (socket) =>
    socket.once("data", (handshake: Buffer) => {
      stand.stop(ID, "The container is replaced by a newer version: connect again");
      socket.write(switching(handshake));
    }),
  );
  stand.set(ID, { kind: "awake", address });
  const late = open(stand);
  await eventually("it is closed", () => late.closed !== undefined);
  t.equal(late.closed?.code, 1001);
  t.same(texts(late), ["CONNECTED"]);
});

t.test("bytes of a WebSocket are activity in both directions", async (t) => {
  const stand = await openStand(t);
  const address = await openEcho(t, (socket) => void setInterval(() => socket.send("tick"), 20).unref());
  stand.set(ID, { kind: "awake", address });
  const recorded = open(stand);
  await connected(recorded);
  const before = stand.uses.get(ID)?.lastActive ?? 0;
  await eventually("it is reported", () => (stand.uses.get(ID)?.lastActive ?? 0) > before);
  t.match(stand.uses.get(ID), { open: 0, streams: 1 });
  recorded.socket.terminate();
});

t.test("a slow client slows the container down", async (t) => {
  const stand = await openStand(t);
  let theirs: WebSocket | undefined;
  const address = await openEcho(t, (socket) => (theirs = socket));
  stand.set(ID, { kind: "awake", address });
  const client = connect(stand.port, "127.0.0.1");
  t.teardown(() => client.destroy());
  client.write(
    `GET ${WS_PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: token\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n`,
  );
  await eventually("it is connected", () => theirs !== undefined);
  client.pause();
  for (let n = 0; n < 64; n++) theirs?.send(Buffer.alloc(1_048_576));
  await pause(200);
  t.ok((theirs?.bufferedAmount ?? 0) > 32 * 1_048_576, `${theirs?.bufferedAmount} bytes stay with the container`);
});

t.test("a WebSocket that its container refuses holds no place while its client closes", async (t) => {
  const stand = await openStand(t, { limits: { lingeringCloseMs: 30_000 } });
  const address = await openRawContainer(t, (socket) => socket.once("data", () => socket.end("HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n")));
  stand.set(ID, { kind: "awake", address });
  const client = connect({ port: stand.port, host: "127.0.0.1", allowHalfOpen: true }, () => client.write(HANDSHAKE));
  t.teardown(() => client.destroy());
  let came = "";
  client.on("data", (bytes: Buffer) => (came += bytes.toString("latin1"))).on("error", () => undefined);
  await eventually("the close", () => came.includes("\x88"));
  await eventually("it is counted out", () => stand.uses.get(ID)?.streams === 0, 5_000);
  t.notOk(client.writableEnded, "the client still has its side open");
});

t.test("a container may send any number of interim responses before its 101", async (t) => {
  const stand = await openStand(t);
  const flood = "HTTP/1.1 100 C\r\n\r\n".repeat(58_000);
  const address = await openRawContainer(t, (socket) => socket.once("data", (head: Buffer) => socket.write(flood + switching(head))));
  stand.set(ID, { kind: "awake", address });
  t.match(await exchange(stand.port, HANDSHAKE, /CONNECTED/), /CONNECTED/);
});
