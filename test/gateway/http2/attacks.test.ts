import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { once } from "node:events";
import type { ServerResponse } from "node:http";
import type { ServerHttp2Stream } from "node:http2";
import t, { type Test } from "tap";
import { openMetrics } from "../../../lib/metrics/open-metrics.ts";
import { eventually } from "../../fixtures/eventually.ts";
import { ID, openContainer, PATH } from "../stand.ts";
import { openHttp2Stand, request } from "./fixture.ts";
import { field, FLAG, openRawClient, rawFrame, requestFields, setting, TYPE, uint32, type RawClient } from "./raw-client.ts";

/** What Node sends after too many invalid frames. */
const INTERNAL_ERROR = 2;
const ENHANCE_YOUR_CALM = 11;
const REFUSED_STREAM = 7;
const GET = requestFields(PATH);

async function openAttacked(t: Test) {
  const metrics = openMetrics();
  const stand = await openHttp2Stand(t, { metrics });
  const received = { requests: 0 };
  const { address } = await openContainer(t, (_message, response) => {
    received.requests++;
    response.end("text");
  });
  stand.set(ID, { kind: "awake", address });
  const isServed = async () => {
    const session = stand.session();
    const answer = await request(session, { ":path": PATH });
    session.destroy();
    return answer.body === "text";
  };
  const broken = () => metrics.http2Broken.at("flood").value + metrics.http2Broken.at("protocol").value;
  return { ...stand, metrics, received, isServed, broken };
}

function openStream(id: number, fields = GET, flags: number = FLAG.endHeaders | FLAG.endStream): Buffer {
  return rawFrame(TYPE.headers, flags, id, fields);
}

/** Frames in pieces of at most 16 KiB or so. */
function repeat(frame: Buffer, times: number): Buffer[] {
  const at_once = Math.max(1, Math.floor(16_384 / frame.length));
  return Array.from({ length: Math.ceil(times / at_once) }, () => Buffer.concat(Array.from({ length: at_once }, () => frame)));
}

const SHORT_POST = Buffer.concat([requestFields(PATH, "POST"), field("content-length", "1")]);
for (const [what, open] of [
  ["by RST_STREAM (CVE-2023-44487)", (id: number) => [openStream(id), rawFrame(TYPE.reset, 0, id, uint32(8))]],
  ["by a body that is too long (CVE-2025-8671)", (id: number) => [openStream(id, SHORT_POST, FLAG.endHeaders), rawFrame(TYPE.data, 0, id, "xx")]],
] as const)
  t.test(`rapid reset, ${what}: a client that takes back its requests is disconnected after some hundred`, async (t) => {
    const { received, isServed, broken, ...stand } = await openAttacked(t);
    const client = await openRawClient(t, stand);
    await client.send(...Array.from({ length: 5_000 }, (_, at) => Buffer.concat(open(2 * at + 1))));
    t.ok([INTERNAL_ERROR, ENHANCE_YOUR_CALM].includes((await client.ended()) ?? 0));
    t.ok(received.requests < 600, `${received.requests} requests reached the container`);
    await eventually("it to be counted", () => broken() === 1);
    t.ok(await isServed());
  });

for (const [what, frame] of [
  ["PING", rawFrame(TYPE.ping, 0, 0, "12345678")],
  ["SETTINGS", rawFrame(TYPE.settings, 0, 0, setting(3, 100))],
] as const)
  for (const reads of [true, false])
    t.test(`a flood of ${what} frames ends the connection of a client that ${reads ? "reads" : "does not read"}`, async (t) => {
      const { isServed, broken, ...stand } = await openAttacked(t);
      const client = await openRawClient(t, stand);
      if (!reads) client.socket.pause();
      await client.send(...repeat(frame, 20_000));
      client.socket.resume();
      const code = await client.ended();
      if (reads) t.equal(code, ENHANCE_YOUR_CALM);
      await eventually("it to be counted", () => broken() === 1);
      t.ok(await isServed());
    });

for (const [what, frame] of [
  ["PRIORITY", rawFrame(TYPE.priority, 0, 9, Buffer.concat([uint32(0), Buffer.from([1])]))],
  ["WINDOW_UPDATE", rawFrame(TYPE.windowUpdate, 0, 0, uint32(1))],
  ["unknown", rawFrame(0x77, 0, 0, "something")],
] as const)
  t.test(`a flood of ${what} frames holds up no other client`, async (t) => {
    const { isServed, ...stand } = await openAttacked(t);
    const client = await openRawClient(t, stand);
    const sent = client.send(...repeat(frame, 200_000));
    for (let time = 0; time < 5; time++) t.ok(await isServed());
    await sent;
  });

t.test("a stream that Node resets because its connection has closed is destroyed only after the reset", async (t) => {
  const stand = await openHttp2Stand(t);
  const { address } = await openContainer(t, (_request, response) => void response.writeHead(200).write("the first bytes"));
  stand.set(ID, { kind: "awake", address });
  const opened: ServerHttp2Stream[] = [];
  const onOpened = (message: unknown) => void opened.push((message as { stream: ServerHttp2Stream }).stream);
  subscribe("http2.server.stream.start", onOpened);
  t.teardown(() => unsubscribe("http2.server.stream.start", onOpened));
  const stream = stand.session().request({ ":path": PATH, authorization: "token" });
  stream.on("error", () => undefined).resume();
  await once(stream, "data");
  t.equal(opened.length, 1);
  // As Node does with each stream of a connection that has closed.
  for (const one of opened) one.close(8);
  await eventually("the reset", () => stream.rstCode === 8 && stream.closed);
  await eventually("no exchange is left", () => stand.openAt(ID).count === 0);
});

t.test("a request with a length of 0 reaches the container when its stream ends, and not with a body", async (t) => {
  const { received, ...stand } = await openAttacked(t);
  const client = await openRawClient(t, stand);
  const respondedTo = (id: number) => client.frames.some(({ type, stream }) => stream === id && type === TYPE.headers);
  // A connection to the container is idle then, so a request would be sent at once.
  await client.send(openStream(1));
  await eventually("the response", () => respondedTo(1));
  const empty = Buffer.concat([requestFields(PATH, "POST"), field("content-length", "0")]);
  await client.send(openStream(3, empty, FLAG.endHeaders), openStream(5, empty, FLAG.endHeaders), openStream(7));
  await eventually("the response to the request behind them", () => respondedTo(7));
  t.equal(received.requests, 2);
  await client.send(rawFrame(TYPE.data, FLAG.endStream, 3));
  await eventually("the response to an empty body", () => respondedTo(3));
  await client.send(rawFrame(TYPE.data, FLAG.endStream, 5, "GET / HTTP/1.1\r\n\r\n"));
  await client.ended();
  t.equal(received.requests, 3);
});

t.test("a client may send a PING for each response that it receives, as clients of gRPC do", async (t) => {
  const { broken, ...stand } = await openAttacked(t);
  const session = stand.session();
  for (let time = 0; time < 600; time++) {
    await request(session, { ":path": PATH });
    session.ping(() => undefined);
  }
  t.equal((await request(session, { ":path": PATH })).status, 200);
  t.equal(broken(), 0);
});

t.test("empty DATA frames, of which HTTP/2 allows any number, end the connection", async (t) => {
  const { isServed, ...stand } = await openAttacked(t);
  const client = await openRawClient(t, stand);
  await client.send(openStream(1, requestFields(PATH, "POST"), FLAG.endHeaders), ...repeat(rawFrame(TYPE.data, 0, 1), 20_000));
  await client.ended();
  t.ok(await isServed());
});

t.test("a head without end, in CONTINUATION frames, ends the connection", async (t) => {
  const { received, isServed, ...stand } = await openAttacked(t);
  const client = await openRawClient(t, stand);
  const more = rawFrame(TYPE.continuation, 0, 1, field("x-more", "y".repeat(1_000)));
  await client.send(openStream(1, GET, FLAG.endStream), ...repeat(more, 100_000));
  await client.ended();
  t.equal(received.requests, 0);
  t.ok(await isServed());
});

t.test("a head that is small on the wire and large in memory is refused, and costs little memory", async (t) => {
  const { received, isServed, ...stand } = await openAttacked(t);
  const client = await openRawClient(t, stand);
  const kept = field("x-bomb", "y".repeat(3_900), true);
  // Index 62 is the field that was added last.
  const bomb = Buffer.concat([GET, kept, Buffer.alloc(12_000, 0x80 | 62)]);
  const before = process.memoryUsage().rss;
  for (let at = 0; at < 100; at++) await client.send(openStream(2 * at + 1, bomb));
  await eventually("resets, or the end", () => client.socket.destroyed || client.frames.filter(({ type }) => type === TYPE.reset).length > 10);
  t.equal(received.requests, 0);
  t.ok(process.memoryUsage().rss - before < 150_000_000);
  t.ok(await isServed());
});

t.test("streams beyond the limit are refused; a client that goes on is disconnected", async (t) => {
  const { isServed, ...stand } = await openAttacked(t);
  stand.set(ID, { kind: "coming" });
  const client = await openRawClient(t, stand);
  await client.send(...Array.from({ length: 1_000 }, (_, at) => openStream(2 * at + 1)));
  await client.ended();
  const refused = client.frames.filter(({ type, payload }) => type === TYPE.reset && payload.readUInt32BE(0) === REFUSED_STREAM);
  t.ok(refused.length > 10, `${refused.length} were refused`);
  const use = () => stand.openAt(ID).count;
  await eventually("none to wait any more", () => use() === 0);
  const { address } = await openContainer(t, (_message, response) => response.end("text"));
  stand.set(ID, { kind: "awake", address });
  t.ok(await isServed());
});

t.test("streams count as connections of their client", async (t) => {
  const stand = await openHttp2Stand(t, { limits: { connectionsPerAddress: 10 } });
  stand.set(ID, { kind: "coming" });
  const client = await openRawClient(t, stand);
  await client.send(...Array.from({ length: 12 }, (_, at) => openStream(2 * at + 1)));
  // The connection itself is one of the ten.
  await eventually("three refusals", () => client.frames.filter(({ type }) => type === TYPE.reset).length === 3);
  client.socket.destroy();
  await eventually("the places to be free", () => stand.openAt(ID).count === 0);
  const { address } = await openContainer(t, (_message, response) => response.end("text"));
  stand.set(ID, { kind: "awake", address });
  t.equal((await request(stand.session(), { ":path": PATH })).body, "text");
});

t.test("a client with a window of no bytes, or of one, costs bounded memory", async (t) => {
  const stand = await openHttp2Stand(t);
  let written = 0;
  const { address } = await openContainer(t, (_message, response) => {
    const piece = Buffer.alloc(65_536);
    const more = () => {
      do written += piece.length;
      while (response.write(piece) && !response.destroyed);
      response.once("drain", more);
    };
    more();
  });
  stand.set(ID, { kind: "awake", address });
  const clients: RawClient[] = [];
  for (const window of [0, 1]) {
    const client = await openRawClient(t, stand, setting(4, window));
    clients.push(client);
    await client.send(...Array.from({ length: 20 }, (_, at) => openStream(2 * at + 1)));
  }
  let before = -1;
  await eventually("the containers to stop", async () => {
    const still = written > 0 && written === before;
    before = written;
    await new Promise((resolve) => setTimeout(resolve, 300));
    return still;
  });
  t.ok(written / 40 < 12_000_000, `${written / 40} bytes for each stream, most of them in the kernel`);
  for (const { socket } of clients) socket.destroy();
  await eventually("the exchanges to end", () => stand.openAt(ID).count === 0);
});

t.test("bytes that are not HTTP/2 end the connection, and so does silence", async (t) => {
  const stand = await openHttp2Stand(t, { limits: { headersTimeoutMs: 300 } });
  const client = await openRawClient(t, stand);
  await client.send(Buffer.from("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(10)));
  await client.ended();
  const silent = await openRawClient(t, stand);
  t.equal(await silent.ended(), 0);
});

t.test("a malformed request whose client neither ends it nor takes the answer holds neither its stream nor its connection", async (t) => {
  const limits = { keepAliveTimeoutMs: 200, headersTimeoutMs: 200, lingeringCloseMs: 100 };
  const stand = await openHttp2Stand(t, { limits });
  const malformed = Buffer.concat([GET, field("host", "other.example")]);
  for (const window of [65_535, 0]) {
    const client = await openRawClient(t, stand, setting(4, window));
    await client.send(openStream(1, malformed, FLAG.endHeaders));
    await eventually("the answer", () => client.frames.some(({ type, stream }) => type === TYPE.headers && stream === 1));
    await eventually("the end of the stream", () => client.frames.some(({ type, stream }) => type === TYPE.reset && stream === 1));
    t.equal(await client.ended(), 0, `with a window of ${window} bytes`);
  }
  const last = await openRawClient(t, stand);
  await last.send(openStream(1, malformed, FLAG.endHeaders));
  await stand.gateway.drain(60_000);
  t.pass("no drain waits for it");
});

t.test("a client that never takes its answer loses its stream and its connection after the limit of silence", async (t) => {
  const stand = await openHttp2Stand(t, { limits: { keepAliveTimeoutMs: 200, idleTimeoutMs: 300, lingeringCloseMs: 100 } });
  const client = await openRawClient(t, stand, setting(4, 0));
  // Of no route: the answer is berth's own.
  await client.send(openStream(1, requestFields("/nowhere")));
  await eventually("the head of the answer", () => client.frames.some(({ type }) => type === TYPE.headers));
  await eventually("the end of the stream", () => client.frames.some(({ type, stream }) => type === TYPE.reset && stream === 1));
  t.equal(await client.ended(), 0);
});

t.test(
  "a client whose streams are refused because it has too many connections gets a GOAWAY after some hundred, and its open responses",
  async (t) => {
    const metrics = openMetrics();
    const stand = await openHttp2Stand(t, { metrics, limits: { connectionsPerAddress: 2 } });
    const held: ServerResponse[] = [];
    const { address } = await openContainer(t, (_message, response) => void held.push(response));
    stand.set(ID, { kind: "awake", address });
    const client = await openRawClient(t, stand);
    const resets = () => client.frames.filter(({ type }) => type === TYPE.reset).length;
    const isLeft = () => client.frames.some(({ type }) => type === TYPE.goaway);
    await client.send(openStream(1));
    await eventually("the request", () => held.length === 1);
    // Slowly, since nghttp2 has a limit of its own for streams that it refuses.
    for (let sent = 1; sent < 1_000 && !isLeft(); sent += 20) {
      await client.send(...Array.from({ length: 20 }, (_, at) => openStream(2 * (sent + at) + 1)));
      await eventually("the refusals", () => isLeft() || resets() >= sent + 19);
    }
    held[0]?.end("late");
    t.equal(await client.ended(), 0);
    t.equal(client.frames.find(({ type, stream }) => type === TYPE.data && stream === 1)?.payload.toString(), "late");
    t.equal(metrics.http2Broken.at("flood").value, 0);
  },
);
