import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type RequestListener } from "node:http";
import { createServer as createNetServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import t from "tap";
import type { Test } from "tap";
import { systemClock } from "../../lib/clock.ts";
import { type HttpClientOptions, type HttpFailure, MOST_REPLY_VALUES, openHttpClient, parseReply, retryAfterMs } from "../../lib/http-client.ts";
import { createStillClock } from "../fixtures/clock.ts";
import { eventually } from "../fixtures/eventually.ts";
import { listen } from "../fixtures/server.ts";

const toFault = ({ kind, why }: HttpFailure) => new Error(`${kind}: ${why}`);

function openClient(t: Test, options: Partial<HttpClientOptions> = {}) {
  const client = openHttpClient({ clock: systemClock(), maxBytes: 1_000, timeoutMs: 60_000, toFault, ...options });
  t.teardown(() => client.close());
  return client;
}

const urlOf = async (t: Test, server: Server) => `http://127.0.0.1:${(await listen(t, server)).port}`;
const serve = (t: Test, respond: RequestListener) => urlOf(t, createServer(respond));

t.test("a response has its status, its headers and its whole body", async (t) => {
  const url = await serve(t, (request, response) => {
    const sent: Buffer[] = [];
    request
      .on("data", (piece: Buffer) => sent.push(piece))
      .on("end", () => {
        response.writeHead(418, { "x-method": request.method, "x-length": request.headers["content-length"] ?? "none", location: "/elsewhere" });
        response.end(JSON.stringify({ url: request.url, sent: Buffer.concat(sent).toString(), signIn: request.headers.authorization ?? null }));
      });
  });
  const client = openClient(t);
  const to = new URL("/a?b=c", url);
  to.username = "user";
  to.password = "secret";
  const reply = await client.request({ method: "DELETE", url: to, body: "né", headers: { accept: undefined } });
  t.match(reply, { status: 418, headers: { "x-method": "DELETE", "x-length": "3" } });
  t.equal(reply.header("location"), "/elsewhere", "a redirect is a response");
  t.strictSame(JSON.parse(reply.text()), { url: "/a?b=c", sent: "né", signIn: null }, "the user in a URL is not sent");
});

t.test("a response that is larger than it may be is not read on", async (t) => {
  const url = await serve(t, (_request, response) => {
    const more = () => void (response.destroyed || (response.write("x".repeat(10_000)), setImmediate(more)));
    more();
  });
  await t.rejects(openClient(t).request({ url }), { message: /^oversized: / });
});

t.test("a response that does not end in time, or breaks off, is a failure", async (t) => {
  const url = await serve(t, (_request, response) => void response.write("x"));
  const clock = createStillClock();
  const late = t.rejects(openClient(t, { clock, timeoutMs: 5_000 }).request({ url }), { message: "overdue: no response within 5 s" });
  await clock.advance(5_000);
  await late;
  t.equal(clock.pending(), 0);
  await t.rejects(openClient(t, { idleTimeoutMs: 50 }).request({ url }), { message: /^broken: / });
  const cut = await serve(t, (_request, response) => void response.write("x", () => response.destroy()));
  await t.rejects(openClient(t).request({ url: cut }), { message: "broken: ECONNRESET" });
});

t.test("a server that is not there, or does not accept, is unreachable", async (t) => {
  const gone = createNetServer();
  const url = await urlOf(t, gone);
  gone.close();
  await once(gone, "close");
  await t.rejects(openClient(t).request({ url }), { message: "unreachable: ECONNREFUSED" });
  const silent = await urlOf(
    t,
    createNetServer(() => undefined),
  );
  const secure = openClient(t, { connectTimeoutMs: 50 });
  await t.rejects(secure.request({ url: silent.replace("http:", "https:") }), { message: "unreachable: no connection within 0.05 s" });
});

t.test("the time after which an idle connection is closed does not limit a connect", async (t) => {
  const opened: Socket[] = [];
  const onSocket = (message: unknown) => void opened.push((message as { socket: Socket }).socket);
  subscribe("net.client.socket", onSocket);
  t.teardown(() => unsubscribe("net.client.socket", onSocket));
  const connecting = Promise.withResolvers<void>();
  // A name that is never resolved keeps it connecting.
  const client = openClient(t, { connections: 1, idleTimeoutMs: 60_000, options: { lookup: () => connecting.resolve() } });
  const caller = new AbortController();
  const left = t.rejects(client.request({ url: "http://never.test/", signal: caller.signal }), { message: "left" });
  await connecting.promise;
  await eventually("the request to have its connection", async () => opened[0]?.timeout === 0);
  caller.abort(new Error("left"));
  await left;
});

t.test("an abort rejects with its own reason, and ends the request", async (t) => {
  const ended = Promise.withResolvers<void>();
  const arrived = Promise.withResolvers<void>();
  const url = await serve(t, (request) => {
    request.once("close", ended.resolve);
    arrived.resolve();
  });
  const caller = new AbortController();
  const left = t.rejects(openClient(t).request({ url, signal: caller.signal }), { message: "left" });
  await arrived.promise;
  caller.abort(new Error("left"));
  await left;
  await ended.promise;
  await t.rejects(openClient(t).request({ url, signal: caller.signal }), { message: "left" });
});

t.test("the limit of a stream ends with its head, and the caller's signal ends its body", async (t) => {
  const ended = Promise.withResolvers<void>();
  const url = await serve(t, (request, response) => {
    request.once("close", ended.resolve);
    response.write("first");
  });
  const clock = createStillClock();
  const caller = new AbortController();
  const { status, stream } = await openClient(t, { clock, timeoutMs: 1_000 }).stream({ url, signal: caller.signal });
  t.equal(status, 200);
  await clock.advance(10_000);
  const [piece] = (await once(stream, "data")) as [Buffer];
  t.equal(piece.toString(), "first");
  const broken = once(stream, "error");
  caller.abort(new Error("left"));
  await broken;
  await ended.promise;
});

t.test("a stream can be read as a whole, under the limits of any response", async (t) => {
  const url = await serve(t, (request, response) => void response.writeHead(404).end("x".repeat(Number(request.url?.slice(1)))));
  const client = openClient(t);
  t.match(await (await client.stream({ url: `${url}/1000` })).read(), { status: 404, body: Buffer.alloc(1_000, "x") });
  await t.rejects((await client.stream({ url: `${url}/1001` })).read(), { message: /^oversized: / });
});

t.test("connections are used again, and no more are opened than may be", async (t) => {
  const server = createServer((_request, response) => void response.end("ok"));
  const url = await urlOf(t, server);
  let connections = 0;
  server.on("connection", () => connections++);
  const client = openClient(t, { connections: 2 });
  await Promise.all(Array.from({ length: 6 }, () => client.request({ url })));
  t.ok(connections <= 2, String(connections));
  const apart = openClient(t);
  const before = connections;
  for (let i = 0; i < 3; i++) await apart.request({ url });
  t.equal(connections - before, 3, "without a pool, each request has its own");
});

t.test("a request goes to the address that was checked, or to the one socket, whatever its host is", async (t) => {
  const url = await serve(t, (request, response) => void response.end(request.headers.host));
  const { port } = new URL(url);
  const named = await openClient(t).request({ url: `http://registry.invalid:${port}/`, address: "127.0.0.1" });
  t.equal(named.text(), `registry.invalid:${port}`);
  // A path in tap's own folders is longer than a socket's may be.
  const folder = mkdtempSync(join(tmpdir(), "http-client-"));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const socketPath = join(folder, "s");
  await listen(
    t,
    createServer((request, response) => void response.end(request.headers.host)),
    { path: socketPath },
  );
  t.equal((await openClient(t, { socketPath }).request({ url: "http://berth/x" })).text(), "berth");
});

t.test("a request names its own fault", async (t) => {
  const url = await serve(t, (_request, response) => void response.destroy());
  await t.rejects(openClient(t).request({ url, toFault: ({ why }) => new Error(`own: ${why}`) }), { message: "own: ECONNRESET" });
});

t.test("a reply is parsed as JSON, and is undefined where it is none", async (t) => {
  t.same(parseReply('{"a":["b",1]}'), { a: ["b", 1] });
  t.equal(parseReply("null"), null);
  t.equal(parseReply("<html>"), undefined);
  t.equal(parseReply(""), undefined);
});

t.test("a reply of too many values is not parsed; a long text is, whatever is in it", async (t) => {
  const list = (length: number) => JSON.stringify(Array.from({ length }, () => ["a"]));
  t.equal(parseReply(list(MOST_REPLY_VALUES / 2)), undefined);
  t.equal((parseReply(list(MOST_REPLY_VALUES / 2 - 1)) as unknown[]).length, MOST_REPLY_VALUES / 2 - 1);
  t.equal(parseReply("[".repeat(MOST_REPLY_VALUES + 1)), undefined);
  const text = '["\\"{[INFO]}",'.repeat(MOST_REPLY_VALUES);
  t.same(parseReply(JSON.stringify({ text })), { text });
  const numbers = Array.from({ length: 2 * MOST_REPLY_VALUES }, () => 1);
  t.same(parseReply(JSON.stringify(numbers)), numbers);
});

t.test("Retry-After is seconds or a date, and at most an hour", async (t) => {
  const replyWith = (value: string | undefined) => ({ header: (name: string) => (name === "retry-after" ? value : undefined) });
  t.equal(retryAfterMs(replyWith("120"), 0), 120_000);
  t.equal(retryAfterMs(replyWith("Thu, 01 Jan 1970 00:01:00 GMT"), 0), 60_000);
  t.equal(retryAfterMs(replyWith("999999"), 0), 3_600_000);
  for (const value of [undefined, "soon"]) t.equal(retryAfterMs(replyWith(value), 0), undefined);
});
