import { once } from "node:events";
import type { ClientHttp2Session, ClientHttp2Stream } from "node:http2";
import t, { type Test } from "tap";
import { WebSocketServer } from "ws";
import { eventually } from "../../fixtures/eventually.ts";
import { frame } from "../../fixtures/frame.ts";
import { echoHead, ID, openContainer, openRawContainer, PATH, WS_PATH } from "../stand.ts";
import { answerOf, openHttp2Stand, type Http2Stand } from "./fixture.ts";

async function openEcho(t: Test, stand: Http2Stand, available = true) {
  const { address, server } = await openContainer(t, echoHead);
  const sockets = new WebSocketServer({ server, handleProtocols: () => "chat" });
  sockets.on("connection", (socket, { url }) => {
    socket.send(`at ${url}`);
    socket.on("message", (data, isBinary) => socket.send(data, { binary: isBinary }));
    socket.on("error", () => undefined);
  });
  if (available) stand.set(ID, { kind: "awake", address });
  return { address, sockets };
}

function openStream(session: ClientHttp2Session, path: string, headers: Record<string, string> = {}) {
  const stream = session.request({
    ":method": "CONNECT",
    ":protocol": "websocket",
    ":path": path,
    authorization: "token",
    "sec-websocket-version": "13",
    ...headers,
  });
  stream.on("error", () => undefined);
  return stream;
}

/** What came of the server's frames, which are short and not masked. */
function framesOf(stream: ClientHttp2Stream): () => string[] {
  let bytes = Buffer.alloc(0);
  stream.on("data", (piece: Buffer) => (bytes = Buffer.concat([bytes, piece])));
  return () => {
    const frames: string[] = [];
    for (let at = 0; at + 2 <= bytes.length;) {
      const length = (bytes[at + 1] ?? 0) & 127;
      const payload = bytes.subarray(at + 2, at + 2 + length);
      const opcode = (bytes[at] ?? 0) & 15;
      frames.push(opcode === 8 ? `close ${payload.readUInt16BE(0)} ${payload.subarray(2).toString()}` : payload.toString());
      at += 2 + length;
    }
    return frames;
  };
}

async function statusOf(stream: ClientHttp2Stream): Promise<number | undefined> {
  const [headers] = (await once(stream, "response")) as [Record<string, unknown>];
  return headers[":status"] as number;
}

const MASKED_CLOSE = frame(8, Buffer.from([3 ^ 1, 232 ^ 2]));
/** A text frame whose mask changes its bytes. */
function text(message: string): Buffer {
  return frame(1, Buffer.from(Buffer.from(message).map((byte, at) => byte ^ ((at % 4) + 1))));
}

t.test("a WebSocket by extended CONNECT waits for its container, and talks with it", async (t) => {
  const stand = await openHttp2Stand(t);
  const { address } = await openEcho(t, stand, false);
  stand.set(ID, { kind: "asleep" });
  const session = stand.session();
  await once(session, "remoteSettings");
  t.equal(session.remoteSettings.enableConnectProtocol, true);
  const stream = openStream(session, `${WS_PATH}/chat-path`, { "sec-websocket-protocol": "chat" });
  const [headers] = (await once(stream, "response")) as [Record<string, unknown>];
  t.equal(headers[":status"], 200);
  t.equal(headers["sec-websocket-protocol"], "chat");
  t.notOk("sec-websocket-accept" in headers || "upgrade" in headers || "connection" in headers);
  const frames = framesOf(stream);
  stream.write(text("early"));
  await eventually("a wake", () => stand.wakes.length > 0);
  stand.set(ID, { kind: "awake", address });
  await eventually("the echo", () => frames().length === 3);
  t.same(frames(), ["CONNECTED", "at /chat-path", "early"]);
  stream.write(MASKED_CLOSE);
  await eventually("the close", () => frames().length === 4);
  t.equal(frames()[3], "close 1000 ");
  stream.end();
  await once(stream, "close");
  t.equal(stream.rstCode, 0);
});

t.test("a WebSocket through /proxy/ is the container's own", async (t) => {
  const stand = await openHttp2Stand(t);
  await openEcho(t, stand);
  const session = stand.session();
  const stream = openStream(session, `${PATH}/own`, { "sec-websocket-protocol": "chat" });
  t.equal(await statusOf(stream), 200);
  const frames = framesOf(stream);
  stream.write(text("hello"));
  await eventually("the echo", () => frames().length === 2);
  t.same(frames(), ["at /own", "hello"]);
});

t.test("a client that resets its stream closes the container's WebSocket", async (t) => {
  const stand = await openHttp2Stand(t);
  const { sockets } = await openEcho(t, stand);
  const stream = openStream(stand.session(), `${PATH}/own`);
  t.equal(await statusOf(stream), 200);
  await eventually("a socket", () => sockets.clients.size === 1);
  stream.close(8);
  await eventually("none", () => sockets.clients.size === 0);
});

t.test("a container that does not switch is no WebSocket; a refusal over proxy-ws is a close", async (t) => {
  const stand = await openHttp2Stand(t);
  const address = await openRawContainer(t, (socket) =>
    socket.once("data", () => void socket.end("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ntext")),
  );
  stand.set(ID, { kind: "awake", address });
  const session = stand.session();
  const plain = await answerOf(openStream(session, PATH));
  t.equal(plain.status, 502);
  t.equal(plain.body, "");
  const refused = openStream(session, WS_PATH, { authorization: "wrong" });
  t.equal(await statusOf(refused), 200);
  const frames = framesOf(refused);
  await eventually("a close", () => frames().some((frame) => frame.startsWith("close ")));
  t.match(frames().at(-1), /^close (1008|4\d\d\d)/);
});

t.test("another protocol than WebSocket, and CONNECT without one, are refused", async (t) => {
  const stand = await openHttp2Stand(t);
  const session = stand.session();
  t.equal(await statusOf(openStream(session, PATH, { ":protocol": "connect-udp" })), 400);
  const tunnel = session.request({ ":method": "CONNECT", ":authority": "elsewhere.example:443" });
  tunnel.on("error", () => undefined);
  t.equal(await statusOf(tunnel), 501);
});

t.test("WebSockets get close 1012 when the gateway drains", async (t) => {
  const stand = await openHttp2Stand(t);
  await openEcho(t, stand);
  const stream = openStream(stand.session(), WS_PATH);
  const frames = framesOf(stream);
  await eventually("CONNECTED", () => frames().length === 2);
  const drained = stand.gateway.drain(60_000);
  await eventually("the close", () => frames().some((frame) => frame.startsWith("close 1012")));
  stream.write(MASKED_CLOSE);
  stream.end();
  await drained;
});
