import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import type { IncomingMessage, ServerResponse } from "node:http";
import { connect as connectSession } from "node:http2";
import { request as requestPlainly } from "node:https";
import { connect as connectPlainly, createServer, type Socket } from "node:net";
import { connect } from "node:tls";
import t from "tap";
import type { AccessRecord } from "../../../gateway/access-record.ts";
import { openMetrics } from "../../../lib/metrics/open-metrics.ts";
import { createStillClock } from "../../fixtures/clock.ts";
import { eventually, eventuallyStill } from "../../fixtures/eventually.ts";
import { listen } from "../../fixtures/server.ts";
import { bodyOf, echoHead, ID, openContainer, openRawContainer, PATH } from "../stand.ts";
import { answerOf, openHttp2Stand, request } from "./fixture.ts";

/** More than the buffers of sockets take. */
const LONG_BYTES = 33_554_432;

t.test("a request reaches the container as one of HTTP/1.1", async (t) => {
  const stand = await openHttp2Stand(t);
  const { address } = await openContainer(t, echoHead);
  stand.set(ID, { kind: "awake", address });
  const headers = { ":path": `${PATH}/x?a=%20b`, cookie: ["a=1", "b=2"], te: "trailers", "x-two": ["1", "2"], "x-latin": "caf\xe9" };
  const answer = await request(stand.session(), headers);
  t.equal(answer.status, 200);
  const { url, method, rawHeaders } = JSON.parse(answer.body) as { url: string; method: string; rawHeaders: string[] };
  t.equal(url, "/x?a=%20b");
  t.equal(method, "GET");
  const lines = rawHeaders.flatMap((name, at) => (at % 2 === 0 ? [`${name}: ${rawHeaders[at + 1]}`] : []));
  for (const line of [`Host: localhost:${stand.port}`, "Cookie: a=1; b=2", "x-two: 1", "x-two: 2", "X-Forwarded-Proto: https"])
    t.ok(lines.includes(line), line);
  t.notOk(lines.some((line) => /^(te|connection: close|transfer-encoding)/i.test(line)));
  t.equal(answer.headers.connection, undefined);
});

t.test("bodies of any length pass in both directions, with their trailers", async (t) => {
  const stand = await openHttp2Stand(t);
  const received: IncomingMessage[] = [];
  const { address } = await openContainer(t, (message, response) => {
    received.push(message);
    void bodyOf(message).then((body) => {
      response.writeHead(200, { Trailer: "x-sum", "content-type": "application/octet-stream" });
      for (let at = 0; at < body.length; at += 30_000) response.write(body.subarray(at, at + 30_000));
      response.addTrailers({ "x-sum": createHash("sha1").update(body).digest("hex") });
      return response.end();
    });
  });
  stand.set(ID, { kind: "awake", address });
  const session = stand.session();
  await Promise.all(
    [1, 16_384, 100_000, 3_000_000].flatMap((length) =>
      [true, false].map(async (withLength) => {
        const body = randomBytes(length);
        const headers = { ":method": "POST", ":path": `${PATH}/${length}`, ...(withLength ? { "content-length": String(length) } : {}) };
        const answer = await request(session, headers, body);
        t.equal(answer.status, 200);
        t.ok(answer.body === body.toString("latin1"), `${length} bytes come back`);
        t.equal(answer.trailers?.["x-sum"], createHash("sha1").update(body).digest("hex"));
      }),
    ),
  );
  const stream = session.request({ ":method": "POST", ":path": PATH, authorization: "token" }, { waitForTrailers: true });
  stream.on("wantTrailers", () => stream.sendTrailers({ "x-end": "of request" }));
  const answered = answerOf(stream);
  stream.end("body");
  t.equal((await answered).body, "body");
  t.equal(received.at(-1)?.trailers["x-end"], "of request");
  t.equal(received.at(-1)?.headers["transfer-encoding"], "chunked");
});

t.test("a response in very many tiny chunks arrives whole", async (t) => {
  const stand = await openHttp2Stand(t);
  const address = await openRawContainer(t, (socket) => {
    socket.once("data", () =>
      socket.end(`HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n${"1\r\nx\r\n2;name=value\r\nyz\r\n".repeat(50_000)}0\r\n\r\n`),
    );
  });
  stand.set(ID, { kind: "awake", address });
  const { body } = await request(stand.session(), { ":path": PATH });
  t.ok(body === "xyz".repeat(50_000), `${body.length} bytes`);
});

t.test("an early response has its trailers, although its request goes on", async (t) => {
  const stand = await openHttp2Stand(t);
  const { address } = await openContainer(t, (_, response) => {
    response.writeHead(200, { Trailer: "x-status" });
    response.write("refused");
    response.addTrailers({ "x-status": "7" });
    response.end();
  });
  stand.set(ID, { kind: "awake", address });
  const session = stand.session();
  for (let round = 0; round < 20; round++) {
    const stream = session.request({ ":method": "POST", ":path": PATH, authorization: "token" });
    stream.write("a part");
    stream.once("end", () => stream.end());
    const answer = await answerOf(stream);
    t.equal(answer.body, "refused");
    t.equal(answer.trailers?.["x-status"], "7");
  }
});

t.test("an early response has its trailers, although its connection is busy with another one", async (t) => {
  const stand = await openHttp2Stand(t);
  let respond: (() => void) | undefined;
  let passed = 0;
  const address = await openRawContainer(t, (socket) => {
    socket.once("data", (head: Buffer) => {
      if (head.toString("latin1").startsWith("POST"))
        respond = () => void socket.write("HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-After: 1\r\n\r\n");
      else {
        socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${LONG_BYTES}\r\n\r\n`);
        for (let at = 0; at < LONG_BYTES; at += 65_536) socket.write(Buffer.alloc(65_536), () => (passed += 65_536));
      }
    });
  });
  stand.set(ID, { kind: "awake", address });
  // Between client and gateway: while it reads nothing, what the gateway writes waits.
  let gatewaySide: Socket | undefined;
  const { port } = await listen(
    t,
    createServer((client) => {
      const far = connectPlainly(stand.port, "127.0.0.1").on("error", () => undefined);
      client.on("error", () => undefined).on("data", (bytes: Buffer) => far.write(bytes));
      far.on("data", (bytes: Buffer) => client.write(bytes));
      gatewaySide = far;
      t.teardown(() => far.destroy());
    }),
  );
  const session = connectSession(`https://localhost:${port}`, { ca: stand.cert, settings: { initialWindowSize: LONG_BYTES } });
  t.teardown(() => session.destroy());
  session.on("error", () => undefined);
  await once(session, "connect");
  session.setLocalWindowSize(2 * LONG_BYTES);
  const long = session.request({ ":path": PATH, authorization: "token" }).on("error", () => undefined);
  await once(long, "response");
  gatewaySide?.pause();
  const answered = answerOf(session.request({ ":method": "POST", ":path": PATH, authorization: "token" }, { endStream: false }));
  await eventually("the request", () => respond !== undefined);
  await eventuallyStill("the gateway to wait", () => passed);
  respond?.();
  await eventually("the response to be over", () => stand.openAt(ID).count === 1);
  gatewaySide?.resume();
  t.match((await answered).trailers, { "x-after": "1" });
  long.close(8);
});

t.test("informational responses, HEAD, and responses without a body", async (t) => {
  const stand = await openHttp2Stand(t);
  const { address } = await openContainer(t, (message, response) => {
    if (message.url === "/hints") {
      response.writeProcessing();
      response.writeEarlyHints({ link: ["</a.css>; rel=preload", "</b.css>; rel=preload"] });
    }
    if (message.url === "/none") response.statusCode = 204;
    if (message.url === "/same") response.statusCode = 304;
    response.setHeader("x-here", "1");
    response.end(message.url === "/hints" || message.method === "HEAD" ? "text" : undefined);
  });
  stand.set(ID, { kind: "awake", address });
  const session = stand.session();
  const hinted = await request(session, { ":path": `${PATH}/hints` });
  t.same(
    hinted.informational.map((headers) => [headers[":status"], headers["link"]]),
    [
      [102, undefined],
      [103, "</a.css>; rel=preload, </b.css>; rel=preload"],
    ],
  );
  t.equal(hinted.body, "text");
  const head = await request(session, { ":method": "HEAD", ":path": PATH });
  t.equal(head.status, 200);
  t.equal(head.headers["x-here"], "1");
  t.equal(head.body, "");
  t.equal((await request(session, { ":path": `${PATH}/none` })).status, 204);
  t.equal((await request(session, { ":path": `${PATH}/same` })).status, 304);
});

t.test("Expect: 100-continue is the container's to answer", async (t) => {
  const stand = await openHttp2Stand(t);
  const { address } = await openContainer(t, (message, response) => void bodyOf(message).then((body) => response.end(body)));
  stand.set(ID, { kind: "awake", address });
  const stream = stand.session().request({ ":method": "POST", ":path": PATH, authorization: "token", expect: "100-continue" });
  const answered = answerOf(stream);
  await once(stream, "continue");
  stream.end("now");
  t.equal((await answered).body, "now");
});

t.test("more event streams than browsers open connections", async (t) => {
  const stand = await openHttp2Stand(t);
  const open: ServerResponse[] = [];
  const { address } = await openContainer(t, (_message, response) => {
    response.writeHead(200, { "content-type": "text/event-stream" });
    response.write("data: 1\n\n");
    open.push(response);
  });
  stand.set(ID, { kind: "awake", address });
  const session = stand.session();
  const streams = Array.from({ length: 100 }, () => session.request({ ":path": PATH, authorization: "token" }));
  const texts = streams.map((stream) => {
    const text: string[] = [];
    stream.setEncoding("utf8").on("data", (piece: string) => void text.push(piece));
    return text;
  });
  await eventually("the first event of each", () => texts.every((text) => text.join("") === "data: 1\n\n"));
  for (const response of open) response.write("data: 2\n\n");
  await eventually("the second event of each", () => texts.every((text) => text.join("") === "data: 1\n\ndata: 2\n\n"));
});

t.test("a request is held until its container has started", async (t) => {
  const stand = await openHttp2Stand(t);
  const { address } = await openContainer(t, (message, response) => void bodyOf(message).then((body) => response.end(body)));
  stand.set(ID, { kind: "asleep" });
  const answered = request(stand.session(), { ":method": "POST", ":path": PATH }, "held");
  await eventually("a wake", () => stand.wakes.length > 0);
  stand.set(ID, { kind: "awake", address });
  t.equal((await answered).body, "held");
});

t.test("the first connection after a long rest has the whole time for its request", async (t) => {
  const clock = createStillClock();
  const stand = await openHttp2Stand(t, { clock, limits: { headersTimeoutMs: 1_000 } });
  stand.set(ID, { kind: "awake", address: (await openContainer(t, echoHead)).address });
  await clock.advance(60_000);
  const session = stand.session();
  await once(session, "remoteSettings");
  await clock.advance(900);
  const answer = request(session, { ":path": PATH });
  t.equal((await answer).status, 200);
  t.notOk(session.closed);
});

t.test("an answer before the end of the request ends the stream without an error", async (t) => {
  const stand = await openHttp2Stand(t);
  const session = stand.session();
  const stream = session.request({ ":method": "POST", ":path": PATH, authorization: "wrong" });
  stream.on("error", () => undefined);
  stream.write("a part");
  const [headers] = (await once(stream, "response")) as [Record<string, unknown>];
  t.equal(headers[":status"], 401);
  const text: Buffer[] = [];
  stream.on("data", (piece: Buffer) => text.push(piece));
  await once(stream, "close");
  t.match(Buffer.concat(text).toString(), /datagrok-error/);
  t.equal(stream.rstCode, 0);
});

for (const [what, head] of [
  ["with a length", "Content-Length: 100\r\n"],
  ["in chunks", "Transfer-Encoding: chunked\r\n"],
] as const)
  t.test(`a response ${what} that breaks off is not taken for a complete one`, async (t) => {
    const stand = await openHttp2Stand(t);
    const body = head.startsWith("T") ? "4\r\npart\r\n" : "part";
    const address = await openRawContainer(t, (socket) => socket.once("data", () => void socket.end(`HTTP/1.1 200 OK\r\n${head}\r\n${body}`)));
    stand.set(ID, { kind: "awake", address });
    await t.rejects(request(stand.session(), { ":path": PATH }), { message: /NGHTTP2_INTERNAL_ERROR/ });
  });

t.test("a response that the end of its connection ends is complete then", async (t) => {
  const stand = await openHttp2Stand(t);
  const address = await openRawContainer(t, (socket) => socket.once("data", () => void socket.end("HTTP/1.1 200 OK\r\n\r\nall of it")));
  stand.set(ID, { kind: "awake", address });
  t.equal((await request(stand.session(), { ":path": PATH })).body, "all of it");
});

t.test("a client that resets a stream, or leaves, aborts the exchange with the container", async (t) => {
  const stand = await openHttp2Stand(t);
  let begun = 0;
  let aborted = 0;
  const { address } = await openContainer(t, (message, response) => {
    begun++;
    response.write("begun");
    message.once("close", () => aborted++);
  });
  stand.set(ID, { kind: "awake", address });
  const session = stand.session();
  const streams = [1, 2, 3].map(() => session.request({ ":path": PATH, authorization: "token" }).on("error", () => undefined));
  await eventually("three requests", () => begun === 3);
  streams[0]?.close(8);
  await eventually("one to be aborted", () => aborted === 1);
  session.destroy();
  await eventually("all to be aborted", () => aborted === 3);
});

t.test("a body that its client resets without an error is not complete for the container", async (t) => {
  const stand = await openHttp2Stand(t);
  const ends: string[] = [];
  let received = 0;
  const { address } = await openContainer(t, (message) => {
    message.on("data", (bytes: Buffer) => (received += bytes.length));
    message.once("end", () => ends.push("complete"));
    message.once("error", () => ends.push("broken"));
  });
  stand.set(ID, { kind: "awake", address });
  const stream = stand.session().request({ authorization: "token", ":path": PATH, ":method": "POST" });
  stream.on("error", () => undefined);
  stream.write("half");
  await eventually("the first half", () => received === 4);
  // Without an error, it sends RST_STREAM with NO_ERROR.
  stream.destroy();
  await eventually("the end", () => ends.length > 0);
  t.same(ends, ["broken"]);
});

t.test("a client that does not read holds the container back; one stream does not hold back others", async (t) => {
  const stand = await openHttp2Stand(t);
  let written = 0;
  const { address } = await openContainer(t, (message, response) => {
    if (message.url === "/small") return void response.end("small");
    const piece = Buffer.alloc(65_536);
    const more = () => {
      do written += piece.length;
      while (response.write(piece) && !response.destroyed);
      response.once("drain", more);
    };
    more();
  });
  stand.set(ID, { kind: "awake", address });
  const session = stand.session();
  const slow = session.request({ ":path": PATH, authorization: "token" }).on("error", () => undefined);
  await once(slow, "response");
  slow.pause();
  await eventuallyStill("the container to stop writing", () => written);
  t.ok(written < 16_000_000, `${written} bytes`);
  t.equal((await request(session, { ":path": `${PATH}/small` })).body, "small");
  slow.resume();
  const stopped = written;
  await eventually("it to go on", () => written > stopped + 5_000_000);
  slow.close(8);
});

t.test("a container that does not read holds the client back", async (t) => {
  const stand = await openHttp2Stand(t);
  let paused: IncomingMessage | undefined;
  const { address } = await openContainer(t, (message, response) => {
    paused = message.pause();
    void bodyOf(message).then((body) => response.end(String(body.length)));
    message.pause();
  });
  stand.set(ID, { kind: "awake", address });
  const session = stand.session();
  const stream = session.request({ ":method": "POST", ":path": PATH, authorization: "token" });
  const answered = answerOf(stream);
  const piece = Buffer.alloc(65_536);
  let sent = 0;
  while (sent < 40_000_000) {
    const drained = await new Promise<boolean>((resolve) => {
      const timer = setTimeout(resolve, 1_000, false);
      stream.write(piece, () => {
        clearTimeout(timer);
        resolve(true);
      });
    });
    sent += piece.length;
    if (!drained) break;
  }
  t.ok(sent < 20_000_000, `${sent} bytes`);
  await eventually("the request", () => paused !== undefined);
  paused?.resume();
  stream.end();
  t.equal((await answered).body, String(sent));
});

t.test("a client that resets an upload without an error, which its container does not read, has left", async (t) => {
  const stand = await openHttp2Stand(t);
  const { address } = await openContainer(t, (message) => void message.pause());
  stand.set(ID, { kind: "awake", address });
  const session = stand.session();
  const stream = session.request({ ":method": "POST", ":path": PATH, authorization: "token" }).on("error", () => undefined);
  let sent = 0;
  const send = () => void stream.write(Buffer.alloc(65_536), (error) => !(error instanceof Error) && (sent += 65_536) < 100_000_000 && send());
  send();
  await eventuallyStill("it to stop", () => sent);
  stream.destroy();
  await eventually("the lease to be released", () => stand.openAt(ID).count === 0);
  t.equal((await request(session, { ":path": "/livez" })).status, 200);
});

t.test("HTTP/1.1 is still spoken to those who do not choose HTTP/2, and alone without the setting", async (t) => {
  for (const http2 of [true, false]) {
    const stand = await openHttp2Stand(t, { http2 });
    const { address } = await openContainer(t, (_message, response) => response.end("text"));
    stand.set(ID, { kind: "awake", address });
    const sent = requestPlainly(`https://localhost:${stand.port}${PATH}`, { ca: stand.cert, headers: { authorization: "token" } }).end();
    const [answer] = (await once(sent, "response")) as [IncomingMessage];
    t.equal((await bodyOf(answer)).toString(), "text");
    const socket = connect({ port: stand.port, host: "127.0.0.1", servername: "localhost", ca: stand.cert, ALPNProtocols: ["h2", "http/1.1"] });
    await once(socket, "secureConnect");
    t.equal(socket.alpnProtocol, http2 ? "h2" : "http/1.1");
    socket.destroy();
  }
});

t.test("a drain ends the connection after its streams; the client knows which ones it must send elsewhere", async (t) => {
  const stand = await openHttp2Stand(t);
  const held: ServerResponse[] = [];
  const { address } = await openContainer(t, (_message, response) => void held.push(response));
  stand.set(ID, { kind: "awake", address });
  const session = stand.session();
  const first = request(session, { ":path": PATH });
  await eventually("a request", () => held.length === 1);
  const drained = stand.gateway.drain(60_000);
  await t.rejects(request(session, { ":path": PATH }), { message: /NGHTTP2_REFUSED_STREAM/ });
  t.equal(held.length, 1);
  held[0]?.end("done");
  t.equal((await first).body, "done");
  await drained;
});

t.test("the access log and the metrics show the protocol", async (t) => {
  const records: AccessRecord[] = [];
  const metrics = openMetrics();
  const stand = await openHttp2Stand(t, { metrics, watchers: [(record) => void records.push(record)] });
  const { address } = await openContainer(t, (_message, response) => response.end("text"));
  stand.set(ID, { kind: "awake", address });
  const session = stand.session();
  await request(session, { ":path": PATH });
  await request(session, { ":path": "/livez" });
  await eventually("two records", () => records.length === 2);
  t.match(records, [
    { protocol: "h2", status: 200, ending: "answered", peer: "127.0.0.1", labels: { route: "proxy", login: "ada" } },
    { protocol: "h2", status: 200, labels: { route: "health" } },
  ]);
  t.ok((records[0]?.bytesOut ?? 0) > 4);
  t.equal(metrics.http2Streams.at().value, 2);
  session.destroy();
});

t.test("a request that HTTP/1.1 cannot have is refused with 400", async (t) => {
  const stand = await openHttp2Stand(t);
  const session = stand.session();
  for (const headers of [
    { ":path": PATH, ":authority": "one.example", host: "other.example" },
    { ":path": PATH, ":scheme": "ftp" },
    { ":path": PATH, ":authority": "a/b" },
    { ":path": "no-slash" },
    { ":path": PATH, host: "a b", ":authority": "a b" },
  ]) {
    // nghttp2 resets some of them.
    const result = await request(session, headers).then(
      ({ status }) => status,
      (error: Error) => /PROTOCOL_ERROR|HTTP2_INVALID/.exec(String(error.stack))?.[0],
    );
    t.ok(result === 400 || result !== undefined, `${JSON.stringify(headers)}: ${result}`);
  }
});
