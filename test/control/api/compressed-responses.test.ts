import { connect } from "node:net";
import { request } from "node:http";
import { buffer } from "node:stream/consumers";
import t from "tap";
import { gunzipSync } from "node:zlib";
import { ADMIN_KEY, openApiFixture, type ApiFixture } from "./fixtures/open-api-fixture.ts";

function raw({ socketPath }: ApiFixture, path: string, headers: Record<string, string>) {
  const { promise, resolve, reject } = Promise.withResolvers<{ status: number; headers: NodeJS.Dict<string | string[]>; body: Buffer }>();
  const call = request({ socketPath, path: `/api${path}`, headers: { host: "berth.example", ...headers } }, async (response) => {
    await buffer(response).then((body) => resolve({ status: response.statusCode ?? 0, headers: response.headers, body }), reject);
  });
  call.on("error", reject);
  call.end();
  return promise;
}

/** Processor time, in milliseconds. */
function workSince(before: NodeJS.CpuUsage): number {
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1_000;
}

const gzip = { "accept-encoding": "br, gzip;q=0.8" };

t.test("long JSON is compressed for who accepts it, and is the same", async (t) => {
  const stand = await openApiFixture(t);
  for (let index = 0; index < 12; index++)
    await stand.publish(`p${index}`, { "dockerfiles/app/Dockerfile": "FROM a\nEXPOSE 80\n".padEnd(500, "# x\n") });
  const signed = { authorization: stand.token };
  const plain = await raw(stand, "/docker/containers", signed);
  const packed = await raw(stand, "/docker/containers", { ...signed, ...gzip });
  t.equal(plain.headers["content-encoding"], undefined);
  t.equal(plain.headers["vary"], "Accept-Encoding");
  t.match(packed.headers, { "content-encoding": "gzip", vary: "Accept-Encoding" });
  t.ok(packed.body.length < plain.body.length / 4, `${packed.body.length} of ${plain.body.length} bytes`);
  t.equal(gunzipSync(packed.body).toString(), plain.body.toString());
  t.equal((await raw(stand, "/docker/containers", { ...signed, "accept-encoding": "gzip;q=0" })).headers["content-encoding"], undefined);
  t.equal((await raw(stand, "/users/current", { ...signed, ...gzip })).headers["content-encoding"], undefined, "what is short stays as it is");
});

t.test("a long list is compressed as it is sent", async (t) => {
  const stand = await openApiFixture(t);
  const files = Object.fromEntries(Array.from({ length: 60 }, (_, index) => [`dockerfiles/app${index}/Dockerfile`, "FROM a\nEXPOSE 80\n"]));
  await stand.publish("many", files);
  const { headers, body } = await raw(stand, "/docker/containers", { authorization: stand.token, ...gzip });
  t.equal(headers["content-encoding"], "gzip");
  t.equal(JSON.parse(gunzipSync(body).toString()).length, 60);
});

t.test("nothing is compressed that another page could have a browser ask for, nor an answer with a token", async (t) => {
  const stand = await openApiFixture(t);
  for (let index = 0; index < 12; index++)
    await stand.publish(`p${index}`, { "dockerfiles/app/Dockerfile": "FROM a\nEXPOSE 80\n".padEnd(500, "# x\n") });
  const cookie = { cookie: `auth=${encodeURIComponent(stand.token)}`, ...gzip };
  t.equal((await raw(stand, "/docker/containers", cookie)).headers["content-encoding"], undefined);
  t.equal((await raw(stand, "/docker/containers", { ...cookie, "sec-fetch-site": "same-site" })).headers["content-encoding"], undefined);
  t.equal((await raw(stand, "/docker/containers", { ...cookie, "sec-fetch-site": "same-origin" })).headers["content-encoding"], "gzip");
  const basic = `Basic ${Buffer.from(`any:${ADMIN_KEY}`).toString("base64")}`;
  const token = await raw(stand, `/docker/token?service=r&scope=${"repository:datagrok/x:pull%20".repeat(40)}`, { authorization: basic, ...gzip });
  t.match(token, { status: 200, headers: { "content-encoding": undefined } });
});

t.test("openapi.json is made once and need not be sent again", async (t) => {
  const stand = await openApiFixture(t);
  const first = await raw(stand, "/openapi.json", gzip);
  t.match(first, { status: 200, headers: { "content-encoding": "gzip", "cache-control": "no-cache" } });
  t.ok(JSON.parse(gunzipSync(first.body).toString()).paths);
  const again = await raw(stand, "/openapi.json", { ...gzip, "if-none-match": String(first.headers["etag"]) });
  t.match(again, { status: 304, body: { length: 0 } });
});

t.test("clients that request openapi.json and read nothing delay no other client", async (t) => {
  const stand = await openApiFixture(t);
  const beforeUnit = process.cpuUsage();
  const list = Array.from({ length: 3_000 }, (_, n) => ({ path: `/some/path/${n}`, summary: "some summary of it", n }));
  for (let n = 0; n < 200; n++) JSON.stringify(list);
  const unitMs = workSince(beforeUnit);
  const requests = `GET /api/openapi.json HTTP/1.1\r\nhost: x\r\n\r\n`.repeat(300);
  const idle = Array.from({ length: 50 }, () => {
    const socket = connect(stand.socketPath);
    socket.on("error", () => {});
    socket.pause();
    socket.write(requests);
    return socket;
  });
  t.teardown(() => idle.forEach((socket) => socket.destroy()));
  await new Promise((resolve) => idle.at(-1)?.once("connect", resolve));
  const before = process.cpuUsage();
  t.equal((await stand.get("/users/current")).status, 200);
  const ms = workSince(before);
  // 10 to 13 times that, whatever the machine's speed, and 300 times where the document is made for each request.
  t.ok(ms < 25 * unitMs, `${ms.toFixed(0)} ms of work until the answer, at ${unitMs.toFixed(0)} for a piece of work of this machine`);
});
