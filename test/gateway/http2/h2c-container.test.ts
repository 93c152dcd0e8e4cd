import { execFileSync } from "node:child_process";
import { closeSync, open, openSync } from "node:fs";
import { constants, createServer, type Http2Server, type ServerHttp2Stream, type ServerOptions } from "node:http2";
import { randomBytes } from "node:crypto";
import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { once } from "node:events";
import { type AddressInfo, connect, createServer as createTcpServer, type Socket } from "node:net";
import { join } from "node:path";
import t, { type Test } from "tap";
import { openContainerSessions } from "../../../gateway/http2/container-sessions.ts";
import { createStillClock } from "../../fixtures/clock.ts";
import { eventually, eventuallyStill } from "../../fixtures/eventually.ts";
import { listen } from "../../fixtures/server.ts";
import { tempFolder } from "../../fixtures/temp-folder.ts";
import { exchange, get, ID, openContainer, openStand, PATH, WS_PATH } from "../stand.ts";
import { openHttp2Stand, request } from "./fixture.ts";

/** Those of libuv. */
const THREADS = 4;

type StreamHandler = (stream: ServerHttp2Stream, headers: Record<string, unknown>, body: Buffer) => void;

/** A container that speaks HTTP/2 only. `sessions` counts its connections. */
async function openH2cContainer(t: Test, onStream: StreamHandler, options: ServerOptions = {}) {
  const server: Http2Server = createServer({ maxSessionMemory: 100, ...options });
  const counts = { sessions: 0, aborted: 0 };
  server.on("session", (session) => {
    counts.sessions++;
    session.on("error", () => undefined);
  });
  server.on("stream", (stream: ServerHttp2Stream, headers) => {
    stream.on("error", () => undefined);
    stream.once("aborted", () => counts.aborted++);
    if (headers["x-unread"] !== undefined) return onStream(stream, headers, Buffer.alloc(0));
    const chunks: Buffer[] = [];
    stream.on("data", (chunk: Buffer) => chunks.push(chunk));
    stream.once("end", () => onStream(stream, headers, Buffer.concat(chunks)));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.teardown(() => server.close());
  const { port } = server.address() as AddressInfo;
  return { address: { host: "127.0.0.1", port, h2c: true } as const, server, counts };
}

t.test("a client of HTTP/1.1 is answered by a container that speaks HTTP/2", async (t) => {
  const stand = await openStand(t);
  const { address } = await openH2cContainer(t, (stream, headers, body) => {
    stream.respond({ ":status": 200, "set-cookie": ["a=1", "b=2"], "x-two": "caf\xe9" }, { waitForTrailers: true });
    stream.on("wantTrailers", () => stream.sendTrailers({ "x-after": "1" }));
    stream.end(JSON.stringify({ ...headers, body: body.toString() }));
  });
  stand.set(ID, { kind: "awake", address });
  const answer = await exchange(stand.port, get(`${PATH}/a?b=%20c`, ["X-Mine: 1", "TE: trailers"]));
  const [head = "", body = ""] = answer.split("\r\n\r\n");
  t.match(head, /^HTTP\/1\.1 200 OK\r\n/);
  for (const line of ["set-cookie: a=1", "set-cookie: b=2", "x-two: caf\xe9", "Transfer-Encoding: chunked"]) t.ok(head.includes(`\r\n${line}`), line);
  const received = JSON.parse(body.slice(body.indexOf("{"), body.indexOf("}") + 1)) as Record<string, string>;
  t.match(received, {
    ":path": "/a?b=%20c",
    ":method": "GET",
    ":authority": "stand.example",
    "x-mine": "1",
    te: "trailers",
    "x-forwarded-proto": "http",
  });
  t.notOk("connection" in received || "host" in received);
  t.match(answer, /\r\n0\r\nx-after: 1\r\n\r\n$/);
  stand.remove(ID);
  await eventually("its address is not watched any more", () => stand.watchers(ID) === 0);
});

t.test("bodies, lengths, statuses and trailers in both directions over HTTP/2", async (t) => {
  const stand = await openHttp2Stand(t);
  const { address, counts } = await openH2cContainer(t, (stream, headers, body) => {
    const path = String(headers[":path"]);
    if (path === "/none") return stream.respond({ ":status": 204 }, { endStream: true });
    if (path === "/hints") stream.additionalHeaders({ ":status": 103, link: "</a.css>" });
    if (path === "/only") return stream.respond({ ":status": 200, "content-type": "application/grpc", "grpc-status": "12" }, { endStream: true });
    stream.respond({ ":status": 200, ...(path === "/length" ? { "content-length": String(body.length) } : {}) });
    stream.end(body);
  });
  stand.set(ID, { kind: "awake", address });
  const session = stand.session();
  const body = randomBytes(2_000_000);
  for (const path of ["/length", "/chunks"])
    for (const withLength of [true, false]) {
      const headers = { ":method": "POST", ":path": PATH + path, ...(withLength ? { "content-length": String(body.length) } : {}) };
      const answer = await request(session, headers, body);
      t.ok(answer.body === body.toString("latin1"), `${path} ${withLength}`);
      t.equal(answer.headers["content-length"], path === "/length" ? String(body.length) : undefined);
    }
  t.equal((await request(session, { ":path": `${PATH}/none` })).status, 204);
  const hinted = await request(session, { ":path": `${PATH}/hints` });
  t.equal(hinted.informational[0]?.["link"], "</a.css>");
  const only = await request(session, { ":path": `${PATH}/only` });
  t.equal(only.headers["grpc-status"], "12");
  const head = await request(session, { ":method": "HEAD", ":path": `${PATH}/length` });
  t.equal(head.status, 200);
  t.equal(counts.sessions, 1, "all of them share a connection");
  t.same(
    (await Promise.all(Array.from({ length: 120 }, () => request(session, { ":path": PATH })))).map(({ status }) => status),
    Array(120).fill(200),
  );
  t.equal(counts.sessions, 2, "a hundred share one");
});

t.test("a container that resets a stream, or leaves, breaks the response off; the next request reaches it again", async (t) => {
  const stand = await openHttp2Stand(t);
  const { address, server } = await openH2cContainer(t, (stream, headers) => {
    if (headers[":path"] === "/fine") return stream.respond({}, { endStream: true });
    if (headers[":path"] === "/late") {
      stream.respond();
      stream.write("part");
    }
    setImmediate(() => (headers[":path"] === "/gone" ? stream.session?.destroy() : stream.destroy(new Error("broken"))));
  });
  stand.set(ID, { kind: "awake", address });
  const session = stand.session();
  const early = await request(session, { ":method": "POST", ":path": `${PATH}/early` }, "x");
  t.equal(early.status, 502);
  t.match(early.body, /datagrok-error/);
  await t.rejects(request(session, { ":path": `${PATH}/late` }), { message: /INTERNAL_ERROR/ });
  t.equal((await request(session, { ":method": "POST", ":path": `${PATH}/gone` }, "x")).status, 502);
  t.equal((await request(session, { ":method": "POST", ":path": `${PATH}/fine` }, "x")).status, 200);
  t.ok(server.listening);
});

t.test("a refused stream was not processed: its request is sent once more over another connection, whatever its method", async (t) => {
  const stand = await openStand(t);
  let code: number = constants.NGHTTP2_REFUSED_STREAM;
  let refusals = 0;
  const received: string[] = [];
  const { address, server } = await openH2cContainer(t, () => undefined);
  const sessions: unknown[] = [];
  server.removeAllListeners("stream");
  server.on("stream", (stream: ServerHttp2Stream, headers) => {
    stream.on("error", () => undefined);
    sessions.push(stream.session);
    if (refusals > 0) {
      refusals--;
      if (headers["x-late"] === undefined) return stream.close(code);
      // After the body came, too.
      return void stream.resume().once("end", () => stream.close(code));
    }
    const chunks: Buffer[] = [];
    stream.on("data", (chunk: Buffer) => chunks.push(chunk));
    stream.once("end", () => {
      received.push(`${headers[":method"]} ${Buffer.concat(chunks).length}`);
      stream.respond({ ":status": 200 });
      stream.end("done");
    });
  });
  stand.set(ID, { kind: "awake", address });
  const send = (method: string, body: string, lines: string[] = []) =>
    exchange(stand.port, get(`${PATH}/`, [...lines, ...(body === "" ? [] : [`Content-Length: ${body.length}`])]).replace(/^GET/, method) + body);
  const short = "x".repeat(10_000);
  const chunked = ["Transfer-Encoding: chunked"];
  for (const late of [[], ["X-Late: 1"]])
    for (const [method, body, lines, length] of [
      ["GET", "", [], 0],
      ["POST", "", ["Content-Length: 0"], 0],
      ["POST", short, [], short.length],
      ["POST", "", chunked, 5],
    ] as const) {
      received.length = sessions.length = 0;
      refusals = 1;
      const sent =
        lines === chunked
          ? exchange(stand.port, `${get(`${PATH}/`, [...chunked, ...late]).replace(/^GET/, method)}5\r\nhello\r\n0\r\n\r\n`)
          : send(method, body, [...lines, ...late]);
      t.match(await sent, /^HTTP\/1\.1 200 /, `${method} ${length} ${late.join("")}`);
      t.same(received, [`${method} ${length}`]);
      t.equal(new Set(sessions).size, 2, "on another connection");
    }
  refusals = 2;
  t.match(await send("POST", short), /^HTTP\/1\.1 502 /, "refused there, too");
  refusals = 1;
  t.match(await send("POST", "x".repeat(1_000_000), ["X-Late: 1"]), /^HTTP\/1\.1 502 /, "a body that is too long to be kept");
  refusals = 1;
  code = constants.NGHTTP2_CANCEL;
  received.length = 0;
  t.match(await send("POST", short), /^HTTP\/1\.1 502 /, "it may have been processed");
  t.same(received, []);
});

t.test("a refused request does not reach another container that has got the address meanwhile", async (t) => {
  const stand = await openStand(t);
  const fifo = join(tempFolder(t), "fifo");
  execFileSync("mkfifo", [fifo]);
  let hasLeft = false;
  let ofOther = 0;
  let held = 0;
  const { address, server } = await openH2cContainer(t, (stream) => {
    if (hasLeft) ofOther++;
    // The look-up of the next connection's host waits for a thread.
    for (let thread = 0; thread < THREADS; thread++) {
      held++;
      open(fifo, "r", (_, fd) => {
        held--;
        closeSync(fd);
      });
    }
    stream.close(constants.NGHTTP2_REFUSED_STREAM);
  });
  let closed = 0;
  server.on("session", (session) => session.once("close", () => closed++));
  stand.set(ID, { kind: "awake", address: { ...address, host: "localhost" } });
  const answer = exchange(stand.port, get(`${PATH}/`, ["Content-Length: 0"]).replace(/^GET/, "POST"));
  await eventually("the request to leave its session", () => closed === 1);
  stand.set(ID, { kind: "coming" });
  hasLeft = true;
  // This gives the threads back, also one that has not begun to wait.
  const writer = openSync(fifo, "r+");
  await eventually("the threads", () => held === 0);
  closeSync(writer);
  t.match(await answer, /^HTTP\/1\.1 502 /);
  t.equal(ofOther, 0);
});

t.test("a client that leaves cancels its stream at the container, and leaves those of others", async (t) => {
  const stand = await openHttp2Stand(t);
  const open: ServerHttp2Stream[] = [];
  const { address, counts } = await openH2cContainer(t, (stream) => {
    stream.respond();
    stream.write("begun");
    open.push(stream);
  });
  stand.set(ID, { kind: "awake", address });
  const session = stand.session();
  const leaves = session.request({ ":path": PATH, authorization: "token" }).on("error", () => undefined);
  const stays = request(session, { ":path": PATH });
  await eventually("two streams", () => open.length === 2);
  leaves.close(8);
  await eventually("one to be cancelled", () => counts.aborted === 1);
  for (const stream of open) if (!stream.destroyed) stream.end(" and over");
  t.equal((await stays).body, "begun and over");
  t.equal(counts.sessions, 1);
});

t.test("an answer before the end of the request", async (t) => {
  const stand = await openHttp2Stand(t);
  const { address } = await openH2cContainer(t, (stream) => {
    stream.respond({ ":status": 413 });
    stream.end("too large");
    stream.close(0);
  });
  stand.set(ID, { kind: "awake", address });
  const session = stand.session();
  const stream = session.request({ ":method": "POST", ":path": PATH, authorization: "token", "x-unread": "1" });
  stream.on("error", () => undefined);
  stream.write(Buffer.alloc(100_000));
  const [headers] = (await once(stream, "response")) as [Record<string, unknown>];
  t.equal(headers[":status"], 413);
  stream.end();
  const text: Buffer[] = [];
  stream.on("data", (piece: Buffer) => text.push(piece));
  await once(stream, "close");
  t.equal(Buffer.concat(text).toString(), "too large");
});

t.test("flow control passes through: neither side buffers what the other does not read", async (t) => {
  const stand = await openHttp2Stand(t);
  let written = 0;
  let unread: ServerHttp2Stream | undefined;
  const { address } = await openH2cContainer(t, (stream, headers) => {
    if (headers["x-unread"] !== undefined) return void (unread = stream);
    stream.respond();
    const piece = Buffer.alloc(65_536);
    const more = () => {
      do written += piece.length;
      while (stream.write(piece) && !stream.destroyed);
      stream.once("drain", more);
    };
    more();
  });
  stand.set(ID, { kind: "awake", address });
  const session = stand.session();
  const slow = session.request({ ":path": PATH, authorization: "token" }).on("error", () => undefined);
  await once(slow, "response");
  const held = await eventuallyStill("it to stop", () => written);
  t.ok(held < 3_000_000, `${held} bytes`);
  slow.resume();
  await eventually("it to go on", () => written > held + 5_000_000);
  slow.close(8);
  let sent = 0;
  const upload = session.request({ ":method": "POST", ":path": PATH, authorization: "token", "x-unread": "1" }).on("error", () => undefined);
  const piece = Buffer.alloc(65_536);
  const send = () => void upload.write(piece, (error) => !(error instanceof Error) && (sent += piece.length) < 100_000_000 && send());
  send();
  await eventually("the request", () => unread !== undefined);
  t.ok((await eventuallyStill("it to stop", () => sent)) < 3_000_000, `${sent} bytes`);
  upload.close(8);
});

t.test("a container of HTTP/1.1 that says h2c is a fault, and so are WebSockets to one of HTTP/2", async (t) => {
  const stand = await openStand(t);
  const { address } = await openContainer(t, (_message, response) => response.end());
  stand.set(ID, { kind: "awake", address: { ...address, h2c: true } });
  t.match(await exchange(stand.port, get(PATH)), /^HTTP\/1\.1 502 /);
  const { address: h2c } = await openH2cContainer(t, (stream) => stream.respond({}, { endStream: true }));
  stand.set(ID, { kind: "awake", address: h2c });
  const upgrade = ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="];
  t.match(await exchange(stand.port, get(WS_PATH, upgrade).replace("Connection: close\r\n", ""), /instead of a WebSocket/), /HTTP\/1\.1 101/);
});

t.test("a new view of the container gets connections of its own", async (t) => {
  const stand = await openHttp2Stand(t);
  const { address, counts } = await openH2cContainer(t, (stream) => stream.respond({}, { endStream: true }));
  const session = stand.session();
  for (const times of [1, 2]) {
    stand.set(ID, { kind: "asleep" });
    stand.set(ID, { kind: "awake", address: { ...address } });
    t.equal((await request(session, { ":path": PATH })).status, 200);
    t.equal(counts.sessions, times);
  }
});

t.test("fields that HTTP/2 forbids end at the proxy, in heads and trailers, and no process dies of them", async (t) => {
  const stand = await openStand(t);
  const { address } = await openH2cContainer(t, (stream, headers, body) => {
    // The request whose trailer is refused is cancelled.
    if (stream.destroyed) return;
    stream.respond({ ":status": 200 });
    stream.end(`${String(headers["http2-settings"])} ${body.toString()}`);
  });
  stand.set(ID, { kind: "awake", address });
  t.match(await exchange(stand.port, get(`${PATH}/a`, ["HTTP2-Settings: AAMAAABkAAQAAP__"])), /^HTTP\/1\.1 200 [^]*undefined/);
  const post = get(`${PATH}/a`, ["Transfer-Encoding: chunked"]).replace(/^GET/, "POST");
  t.match(await exchange(stand.port, `${post}1\r\na\r\n0\r\nHTTP2-Settings: b\r\n\r\n`), /^HTTP\/1\.1 400 /, "as every other hop-by-hop trailer");
  t.match(await exchange(stand.port, `${post}1\r\na\r\n0\r\nX-After: b\r\n\r\n`), /^HTTP\/1\.1 200 [^]*undefined a/);
});

t.test("trailers behind a response with a length reach no other client", async (t) => {
  const stand = await openHttp2Stand(t);
  const trailing: ServerHttp2Stream[] = [];
  const held: ServerHttp2Stream[] = [];
  const { address, counts } = await openH2cContainer(t, (stream, headers) => {
    if (headers[":path"] === "/one") {
      stream.respond({ ":status": 200, "content-length": "3" }, { waitForTrailers: true });
      stream.on("wantTrailers", () => trailing.push(stream));
      stream.end("one");
    } else {
      stream.respond({ ":status": 200 });
      stream.write("t");
      held.push(stream);
    }
  });
  stand.set(ID, { kind: "awake", address });
  t.equal((await request(stand.session(), { ":path": `${PATH}/one` })).body, "one");
  const second = request(stand.session(), { ":path": `${PATH}/two` });
  await eventually("both requests", () => held.length === 1 && trailing.length === 1);
  t.equal(counts.sessions, 1, "they share a connection");
  const [one] = trailing;
  one?.sendTrailers({ "x-of": "one" });
  await once(one as ServerHttp2Stream, "close");
  held[0]?.end("wo");
  const { body, trailers } = await second;
  t.same({ body, trailers }, { body: "two", trailers: undefined });
});

t.test("a response with a length whose stream goes on holds no stream once its connection has other responses", async (t) => {
  const stand = await openStand(t);
  const open = new Set<ServerHttp2Stream>();
  const { address, server } = await openH2cContainer(t, (stream) => {
    open.add(stream);
    stream.once("close", () => open.delete(stream));
    stream.respond({ ":status": 200, "content-length": "2" });
    stream.write("ok");
  });
  let sessions = 0;
  server.on("session", (session) => {
    sessions++;
    session.once("close", () => sessions--);
  });
  stand.set(ID, { kind: "awake", address });
  for (let round = 0; round < 20; round++) {
    await exchange(stand.port, get(PATH), "ok");
    await eventually("its connection is free", () => stand.openAt(ID).count === 0);
  }
  t.ok(open.size <= 2, `${open.size} streams`);
  stand.set(ID, { kind: "asleep" });
  await eventually("the end of the session", () => open.size === 0 && sessions === 0);
});

t.test("a connection that its container does not close is closed", async (t) => {
  const stand = await openStand(t, { limits: { lingeringCloseMs: 100 } });
  const sockets: Socket[] = [];
  const server = createTcpServer({ allowHalfOpen: true }, (socket) => {
    sockets.push(socket);
    socket.on("error", () => undefined);
    // SETTINGS, and HEADERS with the status 200, which end the stream.
    socket.once("data", () => socket.write(Buffer.from("00000004000000000000000101050000000188", "hex")));
    socket.resume();
  });
  stand.set(ID, { kind: "awake", address: { ...(await listen(t, server)), h2c: true } });
  t.match(await exchange(stand.port, get(PATH), "\r\n\r\n"), /^HTTP\/1\.1 200 /);
  const [socket] = sockets as [Socket];
  const ended = once(socket, "end");
  stand.set(ID, { kind: "asleep" });
  await ended;
  // The first write after its end is answered by a reset.
  await eventually("its end", () => {
    if (!socket.destroyed) socket.write("x");
    return socket.destroyed;
  });
});

t.test("a response that a reset without an error ends is not taken for a complete one", async (t) => {
  const stand = await openStand(t);
  const { address } = await openH2cContainer(t, (stream) => {
    stream.respond({ ":status": 200 });
    // Without an error, it sends RST_STREAM with NO_ERROR.
    stream.write("half", () => stream.destroy());
  });
  stand.set(ID, { kind: "awake", address });
  const answer = await exchange(stand.port, get(PATH));
  t.match(answer, /4\r\nhalf\r\n$/);
});

t.test("a stream that its container reset without an error does not stay after a client that had not read it", async (t) => {
  // Else the close of the session ends what is left.
  const stand = await openStand(t, { limits: { lingeringCloseMs: 600_000 } });
  let wasReset = false;
  let reset = () => {};
  let written = 0;
  const { address, server } = await openH2cContainer(t, (stream) => {
    const { session } = stream;
    stream.respond({ ":status": 200 });
    const fill = () => {
      do written += 16_384;
      while (stream.write(Buffer.alloc(16_384)));
    };
    stream.on("drain", fill);
    fill();
    reset = () => {
      stream.destroy();
      // The gateway has read the reset by the answer.
      session?.ping(() => (wasReset = true));
    };
  });
  let closed = 0;
  server.on("session", (session) => session.once("close", () => closed++));
  stand.set(ID, { kind: "awake", address });
  const client = connect(stand.port, "127.0.0.1").on("error", () => undefined);
  client.pause();
  client.write(get(PATH));
  await eventually("the response", () => written > 0);
  await eventuallyStill("it to stop", () => written);
  reset();
  await eventually("the reset", () => wasReset);
  client.resetAndDestroy();
  await eventually("the session to close, which its last stream keeps open", () => closed === 1);
  t.equal(stand.openAt(ID).count, 0);
});

t.test("a client may leave in the turn in which the connection to its container is made", async (t) => {
  const { address, counts } = await openH2cContainer(t, (stream) => stream.respond({ ":status": 204 }, { endStream: true }));
  const clock = createStillClock();
  const sessions = openContainerSessions({ limits: { probeAfterMs: 1_000, silentSessionMs: 1_000, lingeringCloseMs: 1_000 }, clock });
  t.teardown(() => sessions.close());
  let leave = () => {};
  const onSocket = (message: unknown) => void (message as { socket: Socket }).socket.prependOnceListener("connect", () => leave());
  subscribe("net.client.socket", onSocket);
  t.teardown(() => unsubscribe("net.client.socket", onSocket));
  const connection = sessions.connect(address, () => () => undefined);
  const closed = once(connection, "close");
  leave = () => void connection.destroy();
  await closed;
  leave = () => {};
  await once(
    sessions.connect(address, () => () => undefined),
    "connect",
  );
  await eventually("the session of the next client", () => counts.sessions >= 1);
});

t.test("after a GOAWAY of a container, the next request goes over a new session", async (t) => {
  const stand = await openHttp2Stand(t);
  const { address, counts } = await openH2cContainer(t, (stream) => {
    stream.respond({ ":status": 200 });
    // GOAWAY: open streams go on. The response is complete before the session has closed.
    stream.session?.close();
    stream.end("a");
  });
  stand.set(ID, { kind: "awake", address });
  const session = stand.session();
  for (let round = 0; round < 20; round++) t.equal((await request(session, { ":path": PATH })).status, 200);
  t.equal(counts.sessions, 20);
});

t.test("after a GOAWAY, a connection whose response ended goes on in another session, while the other streams end in theirs", async (t) => {
  const stand = await openHttp2Stand(t);
  const held: ServerHttp2Stream[] = [];
  const { address, counts } = await openH2cContainer(t, (stream, headers) => {
    stream.respond();
    if (headers[":path"] === "/held") return void held.push(stream.on("error", () => undefined));
    stream.end("a");
  });
  stand.set(ID, { kind: "awake", address });
  const session = stand.session();
  const open = [request(session, { ":path": `${PATH}/held` }), request(session, { ":path": `${PATH}/held` })];
  await eventually("both streams", () => held.length === 2);
  // Its response comes after the GOAWAY, and ends long before the session does.
  held[0]?.session?.close();
  held[0]?.end("first");
  t.equal((await open[0])?.body, "first");
  for (let round = 0; round < 3; round++) t.equal((await request(session, { ":method": "POST", ":path": PATH }, "x")).status, 200);
  t.equal(counts.sessions, 2);
  held[1]?.end("second");
  t.equal((await open[1])?.body, "second");
});

t.test("a request that is given up early says nothing about its session, and one that waited in silence does", async (t) => {
  const waiting: ServerHttp2Stream[] = [];
  const { address, counts, server } = await openH2cContainer(t, (stream, headers) => {
    if (headers[":path"] === "/never") return void waiting.push(stream);
    stream.respond();
    stream.write("watched");
  });
  const pinged = new Promise<void>((resolve) => void server.once("session", (session) => session.once("ping", () => resolve())));
  const clock = createStillClock();
  const sessions = openContainerSessions({ limits: { probeAfterMs: 60_000, silentSessionMs: 100, lingeringCloseMs: 1_000 }, clock });
  t.teardown(() => sessions.close());
  const send = (path: string) => {
    const connection = sessions.connect(address, () => () => undefined).on("error", () => undefined);
    connection.write(`GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`);
    return connection;
  };
  const watch = () => once(send("/watch"), "data");
  const check = async (times: number) => {
    for (let time = 0; time < times; time++) await clock.advance(100);
  };
  await watch();
  await check(2);
  await pinged;
  // Its response comes after that to the PING, which is the only one for five minutes.
  await watch();
  await check(4);
  const early = send("/never");
  await eventually("the request", () => waiting.length === 1);
  early.destroy();
  await watch();
  t.equal(counts.sessions, 1);
  const late = send("/never");
  await eventually("the request", () => waiting.length === 2);
  await check(4);
  late.destroy();
  await watch();
  t.equal(counts.sessions, 2);
});

t.test("a container that takes few streams at once gets more connections instead of requests that wait", async (t) => {
  const stand = await openHttp2Stand(t);
  const held: ServerHttp2Stream[] = [];
  const onStream: StreamHandler = (stream, headers) => {
    stream.respond();
    if (headers[":path"] === "/slow") held.push(stream);
    else stream.end("fast");
  };
  const { address, counts } = await openH2cContainer(t, onStream, { settings: { maxConcurrentStreams: 2 } });
  stand.set(ID, { kind: "awake", address });
  const session = stand.session();
  t.equal((await request(session, { ":path": PATH })).body, "fast");
  const slow: Promise<unknown>[] = [];
  for (let count = 1; count <= 4; count++) {
    slow.push(request(session, { ":path": `${PATH}/slow` }));
    await eventually("the request", () => held.length === count);
  }
  t.equal((await request(session, { ":path": PATH })).body, "fast");
  t.ok(counts.sessions >= 3, `${counts.sessions} connections`);
  for (const stream of held) stream.end();
  await Promise.all(slow);
});

t.test("a session whose path has died without a reset gets no new request, and its open responses go on if it was only slow", async (t) => {
  const stand = await openHttp2Stand(t, { limits: { silentSessionMs: 100, proxyRequestTimeoutMs: 60_000 } });
  const { address, counts } = await openH2cContainer(t, (stream, headers) => {
    stream.respond();
    if (headers[":path"] === "/slow") stream.write("begun,");
    else stream.end("fast");
    if (headers[":path"] === "/slow") slow = stream;
  });
  let slow: ServerHttp2Stream | undefined;
  // Between berth and the container: the first connection falls silent.
  const pairs: [Socket, Socket][] = [];
  const path = createTcpServer((socket) => {
    const onward = connect(address.port, "127.0.0.1");
    pairs.push([socket, onward]);
    for (const side of [socket, onward]) side.on("error", () => undefined);
    socket.pipe(onward).pipe(socket);
    t.teardown(() => [socket, onward].forEach((side) => side.destroy()));
  });
  const { port } = await listen(t, path);
  stand.set(ID, { kind: "awake", address: { host: "127.0.0.1", port, h2c: true } });
  const session = stand.session();
  const response = request(session, { ":path": `${PATH}/slow` });
  await eventually("the stream", () => slow !== undefined);
  const [first] = pairs;
  first?.[0].unpipe();
  first?.[1].unpipe();
  const lost = session.request({ ":path": PATH, authorization: "token" }).on("error", () => undefined);
  await eventually("a new connection", async () => {
    const probe = session.request({ ":path": PATH, authorization: "token" }).on("error", () => undefined);
    const isAnswered = await Promise.race([
      new Promise<boolean>((resolve) => void probe.once("response", () => resolve(true))),
      new Promise<boolean>((resolve) => void setTimeout(resolve, 50, false)),
    ]);
    probe.close();
    return isAnswered;
  });
  t.equal(counts.sessions, 2);
  if (first !== undefined) first[0].pipe(first[1]).pipe(first[0]);
  slow?.end("and over");
  t.equal((await response).body, "begun,and over");
  lost.close();
  // Dead for good: no connection that was used there may lead to it again.
  first?.[0].unpipe();
  first?.[1].unpipe();
  for (let round = 0; round < 5; round++) t.equal((await request(session, { ":method": "POST", ":path": PATH }, "x")).body, "fast");
});

t.test("a container of HTTP/2 gets whatever head a client may send", async (t) => {
  const stand = await openStand(t);
  const { address } = await openH2cContainer(
    t,
    (stream, headers) => {
      stream.respond();
      stream.end(`${Object.keys(headers).filter((name) => name.startsWith("x-many-")).length} ${String(headers["x-long"] ?? "").length}`);
    },
    { maxHeaderListPairs: 1_000, settings: { maxHeaderListSize: 200_000 } },
  );
  stand.set(ID, { kind: "awake", address });
  const many = Array.from({ length: 195 }, (_, at) => `X-Many-${at}: 1`);
  t.match(await exchange(stand.port, get(PATH, many)), /^HTTP\/1\.1 200 [^]*195 0/);
  const long = `X-Long: ${"!".repeat(64_900)}`;
  t.match(await exchange(stand.port, get(PATH, [long])), /^HTTP\/1\.1 200 [^]*0 64900/);
});
