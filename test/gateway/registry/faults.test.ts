import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { type IncomingMessage, request } from "node:http";
import { connect, type Socket } from "node:net";
import t from "tap";

import { openDistribution } from "./distribution.ts";
import { openRecorder, openStand, plainUpstream, type RegistryFixture } from "./stand.ts";
import { eventually } from "../../fixtures/eventually.ts";
import { pause } from "../../fixtures/clock.ts";

const SCOPES = ["repository:datagrok/a:pull,push"];
const UPLOADS = "/v2/datagrok/a/blobs/uploads/";
const digestOf = (bytes: Buffer) => `sha256:${createHash("sha256").update(bytes).digest("hex")}`;

t.test("a push that the registry died in succeeds when it is tried again", async (t) => {
  const registry = await openDistribution(t);
  const stand = await openStand(t, registry);
  const { call } = stand;
  const blob = randomBytes(4_000_000);
  const location = (await call(UPLOADS, { method: "POST", scopes: SCOPES })).headers.get("location") ?? "";
  const half = await stand.token(...SCOPES).then((token) => begin(stand, location, token, blob));
  await half.sent(1_000_000);
  await registry.kill();
  const failed = await half.answer;
  t.ok(failed === undefined || failed === 502, String(failed));
  t.equal((await call("/v2/datagrok/a/tags/list")).status, 502);
  await registry.start();
  const anew = (await call(UPLOADS, { method: "POST", scopes: SCOPES })).headers.get("location") ?? "";
  const whole = await call(`${anew}&digest=${digestOf(blob)}`, { method: "PUT", scopes: SCOPES, body: blob });
  t.equal(whole.status, 201);
  t.ok(Buffer.from(await (await call(`/v2/datagrok/a/blobs/${digestOf(blob)}`)).arrayBuffer()).equals(blob));
});

t.test("an upload goes on in pieces, says how far it is, and can be given up", async (t) => {
  const { call } = await openStand(t, await openDistribution(t));
  const [one, two] = [randomBytes(100_000), randomBytes(50_000)];
  const digest = digestOf(Buffer.concat([one, two]));
  const begun = (await call(UPLOADS, { method: "POST", scopes: SCOPES })).headers.get("location") ?? "";
  const piece = async (location: string, bytes: Buffer, from: number) =>
    call(location, {
      method: "PATCH",
      scopes: SCOPES,
      body: new Uint8Array(bytes),
      headers: { "content-range": `${from}-${from + bytes.length - 1}`, "content-type": "application/octet-stream" },
    });
  const first = await piece(begun, one, 0);
  t.equal(first.headers.get("range"), "0-99999");
  const next = first.headers.get("location") ?? "";
  const status = await call(next, { scopes: SCOPES });
  t.equal(status.status, 204);
  t.equal(status.headers.get("range"), "0-99999");
  const second = await piece(next, two, 100_000);
  const put = await call(`${second.headers.get("location")}&digest=${digest}`, { method: "PUT", scopes: SCOPES });
  t.equal(put.status, 201);
  t.equal(put.headers.get("docker-content-digest"), digest);
  const other = (await call(UPLOADS, { method: "POST", scopes: SCOPES })).headers.get("location") ?? "";
  t.equal((await call(other, { method: "DELETE", scopes: SCOPES })).status, 204);
  t.equal((await call(other, { scopes: SCOPES })).status, 404);
});

t.test("the registry's refusals come back as they are", async (t) => {
  const { call } = await openStand(t, await openDistribution(t));
  const unknown = await call("/v2/datagrok/none/manifests/1");
  t.equal(unknown.status, 404);
  t.match(await unknown.json(), { errors: [{ code: "MANIFEST_UNKNOWN" }] });
  const location = (await call(UPLOADS, { method: "POST", scopes: SCOPES })).headers.get("location") ?? "";
  const wrong = await call(`${location}&digest=sha256:${"0".repeat(64)}`, { method: "PUT", scopes: SCOPES, body: "x" });
  t.equal(wrong.status, 400);
  t.match(await wrong.json(), { errors: [{ code: "DIGEST_INVALID" }] });
});

t.test("a credential that ran out in mid-session is renewed, and only a sending client notices", async (t) => {
  let valid = "one";
  const renewals: string[] = [];
  const registry = await openRecorder(t, (request, response) => {
    const good = request.headers.authorization === valid;
    request.resume();
    // Like most, it answers before it has taken the body.
    response.writeHead(good ? 202 : 401, good ? {} : { "www-authenticate": 'Basic realm="behind"' }).end(good ? "" : "unauthorized behind");
  });
  let current = valid;
  const upstream = plainUpstream(registry.port, {
    authorization: () => current,
    refused: async (_, challenge) => {
      renewals.push(challenge ?? "");
      current = valid;
      return current;
    },
  });
  const { call } = await openStand(t, registry, { upstream });
  t.equal((await call(UPLOADS, { method: "POST", scopes: SCOPES })).status, 202);
  valid = "two";
  t.equal((await call(UPLOADS, { method: "POST", scopes: SCOPES })).status, 202);
  t.same(renewals, ['Basic realm="behind"']);
  valid = "three";
  const sending = await call(`${UPLOADS}1`, { method: "PATCH", scopes: SCOPES, body: "bytes" });
  t.equal(sending.status, 503);
  t.notOk(sending.headers.has("www-authenticate"));
  t.match(await sending.json(), { errors: [{ code: "UNAVAILABLE" }] });
  t.equal((await call(`${UPLOADS}1`, { method: "PATCH", scopes: SCOPES, body: "bytes" })).status, 202);
});

t.test("a refused credential of ours is our fault, and no client has to sign in for it: docker shows the message of a 403", async (t) => {
  const registry = await openRecorder(t, (_, response) => void response.writeHead(401, { "www-authenticate": "Basic" }).end());
  const { call } = await openStand(t, registry);
  const answer = await call("/v2/datagrok/a/manifests/1");
  t.equal(answer.status, 403);
  t.notOk(answer.headers.has("www-authenticate"));
  t.match(await answer.json(), { errors: [{ code: "DENIED" }] });
});

t.test("what the registry forbids, it says itself", async (t) => {
  const quota = JSON.stringify({ errors: [{ code: "DENIED", message: "adding 5 MiB of storage resource, which exceeds the quota" }] });
  const registry = await openRecorder(t, (request, response) => {
    request.resume();
    response.writeHead(403, { "content-type": "application/json; charset=utf-8", "www-authenticate": "Basic" }).end(quota);
  });
  const { call } = await openStand(t, registry);
  for (const init of [{}, { method: "PUT", scopes: SCOPES, body: "{}" }]) {
    const answer = await call("/v2/datagrok/a/manifests/1", init);
    t.equal(answer.status, 403);
    t.equal(answer.headers.get("content-type"), "application/json; charset=utf-8");
    t.notOk(answer.headers.has("www-authenticate"));
    t.equal(await answer.text(), quota);
  }
});

t.test("a thousand pushes that break off leave no connection behind", async (t) => {
  const sockets = new Set<Socket>();
  const arrived = new Set<string>();
  const registry = await openRecorder(t, (request) => {
    sockets.add(request.socket);
    request.socket.once("close", () => sockets.delete(request.socket));
    request.on("error", () => undefined).once("data", () => arrived.add(request.url ?? ""));
  });
  const stand = await openStand(t, registry);
  const token = await stand.token(...SCOPES);
  const breakOff = async (_: unknown, n: number) => {
    const socket = connect(stand.port, "127.0.0.1").on("error", () => undefined);
    const url = `${UPLOADS}${n}-${arrived.size}`;
    socket.write(
      `PATCH ${url} HTTP/1.1\r\nHost: ${stand.host}\r\nAuthorization: Bearer ${token}\r\nContent-Length: 1000000\r\n\r\n${"x".repeat(10_000)}`,
    );
    await eventually("the push to arrive", async () => arrived.has(url));
    socket.resetAndDestroy();
  };
  for (let round = 0; round < 10; round++) await Promise.all(Array.from({ length: 100 }, breakOff));
  t.equal(arrived.size, 1_000);
  await eventually("all connections to be gone", async () => sockets.size === 0 && (await stand.connections()) === 0);
  t.pass();
});

t.test("a slow reader gets through, and nothing is held for it", async (t) => {
  const size = 64 * 1_048_576;
  let written = 0;
  const registry = await openRecorder(t, async (_, response) => {
    response.writeHead(200, { "content-length": size });
    for (; written < size; written += 1_048_576) if (!response.write(Buffer.alloc(1_048_576))) await new Promise((go) => response.once("drain", go));
    response.end();
  });
  const stand = await openStand(t, registry);
  const socket = connect(stand.port, "127.0.0.1");
  socket.write(`GET /v2/datagrok/a/blobs/sha256:ab HTTP/1.1\r\nHost: ${stand.host}\r\nConnection: close\r\n\r\n`);
  await new Promise((go) => socket.once("readable", go));
  await pause(300);
  t.ok(written < size / 2, `${written} bytes went ahead of a reader that waits`);
  let read = 0;
  for await (const piece of socket) read += (piece as Buffer).length;
  t.ok(read > size);
});

t.test("a registry that does not read holds up who writes: nothing is held for it", async (t) => {
  const size = 256 * 1_048_576;
  const began = Promise.withResolvers<IncomingMessage>();
  const registry = await openRecorder(t, (request, response) => {
    began.resolve(request);
    request.once("end", () => response.writeHead(202).end());
  });
  const stand = await openStand(t, registry);
  const token = await stand.token(...SCOPES);
  const socket = connect(stand.port, "127.0.0.1");
  socket.write(`PATCH ${UPLOADS}1 HTTP/1.1\r\nHost: ${stand.host}\r\nAuthorization: Bearer ${token}\r\nContent-Length: ${size}\r\n\r\n`);
  let sent = 0;
  const sending = (async () => {
    for (const piece = Buffer.alloc(1_048_576); sent < size; sent += piece.length) await new Promise((go) => socket.write(piece, go));
  })();
  const request = await began.promise;
  for (let before = -1; before < sent;) {
    before = sent;
    await pause(500);
  }
  // What the kernel holds for two connections of this machine, at most 10 MiB each, and next to nothing beside.
  t.ok(sent > 0 && sent <= 32 * 1_048_576, `${sent} bytes were taken`);
  request.resume();
  await sending;
  t.match(String((await once(socket, "data"))[0]), /^HTTP\/1\.1 202 /);
  socket.destroy();
});

t.test("a slow writer gets through however long it takes: only a stalled one is too slow", async (t) => {
  const stand = await openStand(t, await openDistribution(t), { limits: { idleTimeoutMs: 800, headersTimeoutMs: 300, apiTimeoutMs: 300 } });
  const token = await stand.token(...SCOPES);
  const put = async (pauseMs: number) => {
    const blob = randomBytes(20_000);
    const location = (await stand.call(UPLOADS, { method: "POST", scopes: SCOPES })).headers.get("location") ?? "";
    const headers = { authorization: `Bearer ${token}`, "content-length": blob.length };
    const sending = request(new URL(`${location}&digest=${digestOf(blob)}`, stand.base), { method: "PUT", headers, agent: false });
    const answer = new Promise<number | undefined>((resolve) => {
      sending.once("response", (response) => resolve(response.resume().statusCode)).once("error", () => resolve(undefined));
    });
    for (let at = 0; at < blob.length && !sending.destroyed; at += 2_000) {
      sending.write(blob.subarray(at, at + 2_000));
      await Promise.race([answer, pause(pauseMs)]);
    }
    sending.end();
    return answer;
  };
  const [slow, still] = await Promise.all([put(200), put(2_000)]);
  t.equal(slow, 201);
  t.not(still, 201);
});

t.test(
  "a piece that its client broke off can be sent again where nothing of it came; else Distribution gives the upload up, and the next succeeds",
  async (t) => {
    const registry = await openDistribution(t);
    const stand = await openStand(t, registry);
    const { call } = stand;
    const token = await stand.token(...SCOPES);
    const [one, two] = [randomBytes(100_000), randomBytes(100_000)];
    const digest = digestOf(Buffer.concat([one, two]));
    const patch = async (location: string, bytes: Buffer, from: number) => {
      const headers = { "content-range": `${from}-${from + bytes.length - 1}`, "content-type": "application/octet-stream" };
      return call(location, { method: "PATCH", scopes: SCOPES, body: new Uint8Array(bytes), headers });
    };
    const half = async () => {
      const begun = (await call(UPLOADS, { method: "POST", scopes: SCOPES })).headers.get("location") ?? "";
      return (await patch(begun, one, 0)).headers.get("location") ?? "";
    };
    /** At berth, or at Distribution itself. */
    const breakOff = async (base: string, location: string, bytes: number) => {
      const url = new URL(location, base);
      const socket = connect(Number(new URL(base).port), "127.0.0.1");
      const head = `PATCH ${url.pathname}${url.search} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${token}\r\nContent-Range: 100000-199999\r\nContent-Length: 100000\r\n\r\n`;
      await new Promise((go) => socket.write(Buffer.concat([Buffer.from(head), two.subarray(0, bytes)]), go));
      await pause(200);
      socket.destroy();
      await pause(200);
    };
    const nothing = await half();
    await breakOff(stand.base, nothing, 0);
    const status = await call(nothing, { scopes: SCOPES });
    t.same([status.status, status.headers.get("range")], [204, "0-99999"]);
    const whole = await patch(nothing, two, 100_000);
    t.equal((await call(`${whole.headers.get("location")}&digest=${digest}`, { method: "PUT", scopes: SCOPES })).status, 201);

    for (const base of [stand.base, `http://${registry.host}`]) {
      const part = await half();
      await breakOff(base, new URL(part, stand.base).href.replace(stand.base, base), 50_000);
      t.equal((await call(part, { scopes: SCOPES })).status, 404, base);
      t.equal((await patch(await half(), two, 100_000)).status, 202);
    }
  },
);

/** Begins to send a body and says when so much of it has left; `answer` is undefined where the connection broke. */
function begin({ base }: RegistryFixture, location: string, token: string, body: Buffer) {
  const sending = request(new URL(location, base), {
    method: "PATCH",
    headers: { authorization: `Bearer ${token}`, "content-length": body.length, "content-type": "application/octet-stream" },
  });
  const answer = new Promise<number | undefined>((resolve) => {
    sending.once("response", (response) => resolve(response.resume().statusCode)).once("error", () => resolve(undefined));
  });
  return { answer, sent: (bytes: number) => new Promise<void>((resolve) => void sending.write(body.subarray(0, bytes), () => resolve())) };
}

t.test("an answer to a method that a path does not have lists those that it has", async (t) => {
  const { base } = await openStand(t, await openRecorder(t));
  const rows: [path: string, method: string, allowed: string][] = [
    ["/token", "DELETE", "GET, POST"],
    ["/v2/datagrok/a/manifests/1", "OPTIONS", "GET, HEAD, POST, PUT, PATCH, DELETE"],
  ];
  for (const [path, method, allowed] of rows) {
    const answer = await fetch(base + path, { method });
    t.equal(answer.status, 405, path);
    t.equal(answer.headers.get("allow"), allowed, path);
  }
});
