import { createServer, request, type IncomingMessage } from "node:http";
import { connect } from "node:net";
import t from "tap";
import { WebSocket, WebSocketServer } from "ws";
import { bodyOf, exchange, get, ID, openContainer, openRawContainer, openStand, PATH, WS_PATH } from "./stand.ts";
import { listen } from "../fixtures/server.ts";
import { eventually } from "../fixtures/eventually.ts";

const UPGRADE = ["Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="];
const HEADERS = { connection: "Upgrade", upgrade: "websocket", "sec-websocket-version": "13", "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==" };
/** `get` without its `Connection: close`. */
const upgrade = (path: string, lines = UPGRADE) => get(path, lines).replace("Connection: close", "Connection: Upgrade, x-foo\r\nX-Foo: 1");

t.test("an upgrade reaches the container as it is, and its own 101 comes back", async (t) => {
  const stand = await openStand(t);
  let head = "";
  const answer = [
    "HTTP/1.1 101 Switching Protocols",
    "X-Case: Kept",
    "Set-Cookie: a=1",
    "Set-Cookie: b=2",
    "Sec-WebSocket-Accept: whatever",
    "Upgrade: websocket",
    "Connection: Upgrade",
  ];
  const address = await openRawContainer(t, (socket) =>
    socket.once("data", (bytes: Buffer) => {
      head = bytes.toString();
      socket.write(`${answer.join("\r\n")}\r\n\r\nfirst words`);
      socket.on("data", (more: Buffer) => socket.write(`echo ${more.toString()}`));
    }),
  );
  stand.set(ID, { kind: "awake", address });
  const client = connect(stand.port, "127.0.0.1", () => client.write(upgrade(`${PATH}//a/../b?x=%zz`)));
  let came = "";
  client.on("data", (bytes: Buffer) => (came += bytes.toString()));
  await eventually("the container's first words", () => came.endsWith("first words"));
  t.match(head, /^GET \/\/a\/\.\.\/b\?x=%zz HTTP\/1\.1\r\n/);
  t.match(head, /\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n/);
  t.match(head, /\r\nx-user-api-key: token\r\n/);
  t.match(head, /\r\nConnection: Upgrade\r\n/);
  t.notMatch(head, /x-foo/i);
  for (const line of answer) t.ok(came.includes(`${line}\r\n`), line);
  t.notMatch(came, /CONNECTED/);
  client.write("bytes");
  await eventually("the echo", () => came.endsWith("echo bytes"));
  t.match(stand.uses.get(ID), { open: 0, streams: 1 });
  client.destroy();
  await eventually("it is counted out", () => stand.uses.get(ID)?.streams === 0);
});

t.test("a WebSocket library talks through it, also while cold", async (t) => {
  const stand = await openStand(t);
  const http = createServer();
  const server = new WebSocketServer({ server: http, perMessageDeflate: true });
  server.on("connection", (socket) => socket.on("message", (data, binary) => socket.send(data, { binary })));
  const address = await listen(t, http);
  stand.set(ID, { kind: "asleep" });
  const client = new WebSocket(`ws://127.0.0.1:${stand.port}${PATH}/ws`, { headers: { authorization: "Bearer token" }, perMessageDeflate: true });
  const frames: string[] = [];
  let closed: number | undefined;
  client.on("open", () => client.send("x".repeat(100_000)));
  client.on("message", (data: Buffer) => frames.push(data.toString()));
  client.on("close", (code) => (closed = code));
  await eventually("it waits", () => stand.watchers(ID) === 1);
  t.equal(client.readyState, WebSocket.CONNECTING, "the 101 is the container's to give");
  stand.set(ID, { kind: "awake", address });
  await eventually("the echo", () => frames.length === 1);
  t.equal(frames[0], "x".repeat(100_000));
  t.match(client.extensions, /permessage-deflate/, "extensions are between the two of them");
  client.close(4002, "bye");
  await eventually("it is closed", () => closed !== undefined);
  t.equal(closed, 4002);
  await eventually("it is counted out", () => stand.uses.get(ID)?.streams === 0);
});

t.test("the container's own refusal reaches the client", async (t) => {
  const stand = await openStand(t);
  for (const length of [true, false]) {
    const http = createServer();
    http.on("upgrade", (_, socket) => {
      const framing = length ? "Content-Length: 9\r\n\r\nforbidden" : "Transfer-Encoding: chunked\r\n\r\n9\r\nforbidden\r\n0\r\n\r\n";
      socket.end(`HTTP/1.1 401 Not For You\r\nX-Why: because\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n${framing}`);
    });
    stand.set(ID, { kind: "awake", address: await listen(t, http) });
    const answer = await exchange(stand.port, upgrade(PATH));
    t.match(answer, /^HTTP\/1\.1 401 Not For You\r\n/);
    t.match(answer, /x-why: because\r\n/i);
    t.match(answer, /set-cookie: a=1\r\n[^]*set-cookie: b=2\r\n/i);
    t.match(answer, /forbidden/);
    t.notMatch(answer, /datagrok-error/);
  }
  await eventually("nothing is left", () => stand.uses.get(ID)?.streams === 0);
});

t.test("a refusal by a container that keeps its connection is whole by its own framing, and not waited for longer", async (t) => {
  const stand = await openStand(t);
  for (const [framing, body] of [
    ["Content-Length: 9", "forbidden"],
    ["Transfer-Encoding: chunked", "9\r\nforbidden\r\n0\r\n\r\n"],
  ] as const) {
    // It answers and says nothing more; nor does it close.
    const address = await openRawContainer(t, (socket) =>
      socket.once("data", () => socket.write(`HTTP/1.1 403 Forbidden\r\nConnection: keep-alive\r\n${framing}\r\n\r\n${body}`)),
    );
    stand.set(ID, { kind: "awake", address });
    const outgoing = request({ port: stand.port, path: PATH, headers: { ...HEADERS, authorization: "token" }, agent: false }).end();
    const received = await new Promise<IncomingMessage>((resolve) => void outgoing.once("response", resolve));
    t.equal(received.statusCode, 403);
    t.equal((await bodyOf(received)).toString(), "forbidden", framing);
    t.ok(received.complete, framing);
  }
  await eventually("nothing is left", () => stand.uses.get(ID)?.streams === 0);
});

t.test("bytes beyond ASCII in the container's head stay the bytes that they are", async (t) => {
  const stand = await openStand(t);
  const lines = ["X-Latin: caf\xe9", "X-Utf: caf\xc3\xa9"];
  for (const first of [
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade",
    "HTTP/1.1 403 Gr\xfc\xdfe\r\nContent-Length: 0",
  ]) {
    const address = await openRawContainer(t, (socket) =>
      socket.once("data", () => socket.end(Buffer.from([first, ...lines, "", ""].join("\r\n"), "latin1"))),
    );
    stand.set(ID, { kind: "awake", address });
    const answer = await exchange(stand.port, upgrade(PATH));
    t.ok(answer.startsWith(first.split("\r\n")[0] ?? ""), answer);
    for (const line of lines) t.ok(answer.includes(`\r\n${line}\r\n`), answer);
  }
});

t.test("a refusal without a body has none, and one that breaks off does not look whole", async (t) => {
  const stand = await openStand(t);
  const bare = await openRawContainer(t, (socket) => socket.once("data", () => socket.write("HTTP/1.1 304 Not Modified\r\n\r\n")));
  stand.set(ID, { kind: "awake", address: bare });
  t.match(await exchange(stand.port, upgrade(PATH)), /^HTTP\/1\.1 304 Not Modified\r\n[^]*\r\n\r\n$/);
  const broken = await openRawContainer(t, (socket) =>
    socket.once("data", () => socket.end("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")),
  );
  stand.set(ID, { kind: "awake", address: broken });
  const client = connect(stand.port, "127.0.0.1", () => client.write(upgrade(PATH)));
  let came = "";
  client.setEncoding("latin1").on("data", (text: string) => (came += text));
  const reset = await new Promise((resolve) => void client.once("error", () => resolve(true)).once("end", () => resolve(false)));
  // Without chunks, only the way in which the connection ends can tell.
  t.ok(reset || (/transfer-encoding: chunked/i.test(came) && came.endsWith("\r\nabc\r\n")), came);
});

t.test("a client that reads a large refusal slowly slows the container down", async (t) => {
  const stand = await openStand(t);
  let written = 0;
  const address = await openRawContainer(t, (socket) =>
    socket.once("data", () => {
      socket.write("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n");
      const piece = Buffer.alloc(1_000_000);
      const more = () => {
        do written += piece.length;
        while (socket.write(piece));
      };
      socket.on("drain", more);
      more();
    }),
  );
  stand.set(ID, { kind: "awake", address });
  const client = connect(stand.port, "127.0.0.1", () => client.write(upgrade(PATH))).pause();
  t.teardown(() => client.destroy());
  let before = 0;
  let checks = 0;
  await eventually("nothing more is taken for 30 looks", () => {
    checks = written > 0 && written === before ? checks + 1 : 0;
    before = written;
    return checks === 30;
  });
  t.ok(written < 100_000_000, `${written} bytes`);
});

t.test("a side that stays open after an answer, or after the container has ended, is cut off after a while", async (t) => {
  const stand = await openStand(t, { limits: { lingeringCloseMs: 50 } });
  let held = 0;
  stand.gateway.server.on("connection", (socket) => {
    held++;
    socket.once("close", () => held--);
  });
  const ending = await openRawContainer(t, (socket) =>
    socket.once("data", () => socket.end("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")),
  );
  for (const [availability, path] of [
    [{ kind: "awake", address: ending }, PATH],
    [{ kind: "stopped", fault: { code: "CONTAINER_STOPPED", message: "It sleeps" } }, PATH],
    [{ kind: "awake", address: ending }, WS_PATH],
  ] as const) {
    stand.set(ID, availability);
    const client = connect({ port: stand.port, host: "127.0.0.1", allowHalfOpen: true }, () =>
      client.write(`${upgrade(path, path === WS_PATH ? ["Upgrade: websocket"] : UPGRADE)}early`),
    );
    t.teardown(() => client.destroy());
    client.on("error", () => undefined).resume();
    await eventually("it came", () => client.bytesRead > 0);
    await eventually("the gateway has let go", () => held === 0);
    t.notOk(client.writableEnded, "the client still has its side open");
  }
  await eventually("nothing is left", () => stand.uses.get(ID)?.streams === 0);
});

t.test("a client that sends early and leaves before the 101 ends the container's side", async (t) => {
  const stand = await openStand(t);
  let state = "";
  const address = await openRawContainer(t, (socket) => {
    socket.once("data", () => (state = "requested"));
    socket.once("close", () => (state = "over"));
  });
  stand.set(ID, { kind: "awake", address });
  const client = connect(stand.port, "127.0.0.1", () => client.write(`${upgrade(PATH)}early`));
  await eventually("the container has the request", () => state === "requested");
  client.end();
  await eventually("the container's connection ends", () => state === "over");
  await eventually("nothing is left", () => stand.uses.get(ID)?.streams === 0);
  t.pass("both");
});

t.test("an upgrade with a body, or in HTTP/1.0, is a plain request", async (t) => {
  const stand = await openStand(t);
  const { address } = await openContainer(t, (request, response) => void bodyOf(request).then((body) => response.end(`read ${body.toString()}`)));
  stand.set(ID, { kind: "awake", address });
  const lines = [...UPGRADE, "Connection: close"];
  t.match(await exchange(stand.port, `${upgrade(PATH, [...lines, "Content-Length: 4"])}body`), /^HTTP\/1\.1 200 OK[^]*read body/);
  t.match(await exchange(stand.port, `${upgrade(PATH, [...lines, "Transfer-Encoding: chunked"])}4\r\nbody\r\n0\r\n\r\n`), /read body/);
  t.match(await exchange(stand.port, upgrade(PATH, lines).replace("HTTP/1.1", "HTTP/1.0")), /^HTTP\/1\.1 200 OK[^]*read /);
});

t.test("failures of the system are plain answers here", async (t) => {
  const stand = await openStand(t, { limits: { proxyRequestTimeoutMs: 100 } });
  const rude = await openRawContainer(t, (socket) => socket.once("data", () => socket.destroy()));
  const mute = await openRawContainer(t, () => undefined);
  const ask = () => exchange(stand.port, upgrade(PATH));
  t.match(await ask(), /^HTTP\/1\.1 404 [^]*Content-Type: application\/json\r\n[^]*datagrok-error/);
  stand.set(ID, { kind: "coming" });
  t.match(await ask(), /^HTTP\/1\.1 504 /);
  stand.set(ID, { kind: "awake", address: { host: "127.0.0.1", port: 1 } });
  t.match(await ask(), /^HTTP\/1\.1 502 Container unreachable/);
  stand.set(ID, { kind: "awake", address: rude });
  t.match(await ask(), /^HTTP\/1\.1 502 Container broke the connection/);
  stand.set(ID, { kind: "awake", address: mute });
  t.match(await ask(), /^HTTP\/1\.1 504 Container did not answer in time/);
  await eventually("nothing is left", () => stand.uses.get(ID)?.streams === 0);
});

t.test("a client that leaves while it is held leaves the queue, and one that leaves before the 101 ends the container's side", async (t) => {
  const stand = await openStand(t);
  stand.set(ID, { kind: "coming" });
  const waiting = connect(stand.port, "127.0.0.1", () => waiting.write(upgrade(PATH)));
  await eventually("it waits", () => stand.watchers(ID) === 1);
  waiting.end();
  await eventually("it left", () => stand.watchers(ID) === 0 && stand.uses.get(ID)?.streams === 0);
  let state = "";
  const address = await openRawContainer(t, (socket) => {
    socket.once("data", () => (state = "requested"));
    socket.once("close", () => (state = "over"));
  });
  stand.set(ID, { kind: "awake", address });
  const asking = connect(stand.port, "127.0.0.1", () => asking.write(upgrade(PATH)));
  await eventually("the container has the request", () => state === "requested");
  asking.resetAndDestroy();
  await eventually("the container's connection ends", () => state === "over");
  await eventually("nothing is left", () => stand.uses.get(ID)?.streams === 0);
  t.pass("both");
});

t.test("an upgrade to anything but a WebSocket is a plain request", async (t) => {
  const stand = await openStand(t);
  const { address } = await openContainer(t, (request, response) => void response.end(`upgrade ${request.headers.upgrade}`));
  stand.set(ID, { kind: "awake", address });
  t.match(
    await exchange(stand.port, get(PATH, ["Upgrade: h2c", "Connection: Upgrade", "HTTP2-Settings: AAMAAABkAAQAAP__"])),
    /^HTTP\/1\.1 200 OK[^]*upgrade undefined/,
  );
});

t.test("with a cookie alone, only pages of the same or a permitted origin may upgrade", async (t) => {
  const stand = await openStand(t, { origins: ["https://good.example"] });
  const { address } = await openContainer(t, (_, response) => void response.end());
  stand.set(ID, { kind: "awake", address });
  const ask = (lines: string[]) => exchange(stand.port, upgrade(PATH, [...UPGRADE, ...lines]).replace("Authorization: token\r\n", ""));
  const rows: [origin: string | undefined, forbidden: boolean][] = [
    ["https://evil.example", true],
    ["null", true],
    ["https://stand.example.evil.example", true],
    ["https://good.example", false],
    ["https://stand.example", false],
    [undefined, false],
  ];
  for (const [origin, forbidden] of rows) {
    const answer = await ask(["Cookie: auth=token", ...(origin === undefined ? [] : [`Origin: ${origin}`])]);
    t.equal(answer.startsWith("HTTP/1.1 403 Origin not permitted"), forbidden, String(origin));
  }
  t.notMatch(await ask(["x-user-api-key: token", "Origin: https://evil.example"]), /^HTTP\/1\.1 403/, "a token of one's own needs no origin");
});
