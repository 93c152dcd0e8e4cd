import { createHmac, createPrivateKey, sign } from "node:crypto";
import { connect } from "node:net";
import { exportJWK, exportPKCS8, exportSPKI } from "jose";
import t from "tap";
import { openDistribution } from "./distribution.ts";
import { digestOf } from "./registry-client.ts";
import { openRecorder, openStand, type RegistryFixture } from "./stand.ts";
import { makeSigner, SERVICE } from "./token-server.ts";

const UPLOADS = "/v2/datagrok/a/blobs/uploads/";
const encode = (value: unknown) => Buffer.from(JSON.stringify(value)).toString("base64url");
const soon = () => Math.floor(Date.now() / 1_000) + 600;

t.test("no forged token gets anything to the registry", async (t) => {
  const registry = await openRecorder(t);
  const stand = await openStand(t, registry);
  const { tokens } = stand;
  const foreign = await makeSigner("foreign");
  const claims = () => ({ iss: tokens.issuer, aud: SERVICE, exp: soon(), lim: "docker" });
  const unsigned = (header: object, signature = "") => `${encode(header)}.${encode(claims())}.${signature}`;
  /** Signed by a foreign issuer, with a header that leads to its key. */
  const led = async (header: object) => {
    const input = `${encode({ alg: "RS256", kid: "first", ...header })}.${encode(claims())}`;
    const key = createPrivateKey(await exportPKCS8(foreign.privateKey));
    return `${input}.${sign("sha256", Buffer.from(input), key).toString("base64url")}`;
  };
  const publicPem = await exportSPKI(tokens.signer().publicKey);
  const hmacInput = `${encode({ alg: "HS256", kid: "first" })}.${encode(claims())}`;
  const jwk = await exportJWK(foreign.publicKey);
  const attacks: Record<string, string> = {
    "alg none": unsigned({ alg: "none", kid: "first" }, "x"),
    "alg None, no signature": unsigned({ alg: "None" }),
    "HS256 with the public key": `${hmacInput}.${createHmac("sha256", publicPem).update(hmacInput).digest("base64url")}`,
    "RS512, with the right key": await tokens.sign({}, {}).then((good) => good.replace(/^[^.]+/, encode({ alg: "RS512", kid: "first" }))),
    "a foreign issuer's signature": await led({}),
    "jwk in the header": await led({ jwk }),
    "jku in the header": await led({ jku: `http://127.0.0.1:${registry.port}/keys` }),
    "x5u in the header": await led({ x5u: `http://127.0.0.1:${registry.port}/chain` }),
    "x5c in the header": await led({ x5c: [Buffer.from(publicPem).toString("base64")] }),
    "kid as a path": await led({ kid: "../../../../dev/null" }),
    "kid as a URL": await led({ kid: `http://127.0.0.1:${registry.port}/key` }),
    "kid of an object's own": await led({ kid: "__proto__" }),
    "kid as a number": await led({ kid: 0 }),
    "an unknown critical header": await led({ crit: ["exp"], exp: 1 }),
    "no exp": await tokens.sign({ exp: undefined }),
    "exp as a text": await tokens.sign({ exp: "tomorrow" }),
    expired: await tokens.sign({ exp: soon() - 700 }),
    "not valid yet": await tokens.sign({ nbf: soon() }),
    "another audience": await tokens.sign({ aud: "another-registry" }),
    "no audience": await tokens.sign({ aud: undefined }),
    "another issuer": await tokens.sign({ iss: "https://elsewhere.example" }),
    "no issuer": await tokens.sign({ iss: undefined }),
    "not for a registry": await tokens.sign({ lim: undefined }),
    "for the queue": await tokens.sign({ lim: "mq" }),
    "for another repository": await tokens.sign({ access: [{ type: "repository", name: "datagrok/b", actions: ["push"] }] }),
    "for the repository's beginning": await tokens.sign({ access: [{ type: "repository", name: "datagrok", actions: ["push"] }] }),
    "for pulling": await tokens.sign({ access: [{ type: "repository", name: "datagrok/a", actions: ["pull"] }] }),
    "for something else of that name": await tokens.sign({ access: [{ type: "registry", name: "datagrok/a", actions: ["*"] }] }),
    "for nothing": await tokens.sign({ access: [] }),
    "for what cannot be read": await tokens.sign({ access: { type: "repository", name: "datagrok/a", actions: ["push"] } }),
    "32 KiB": await tokens.sign({ more: "x".repeat(32_768) }),
    "no token": "x",
  };
  for (const [name, token] of Object.entries(attacks)) {
    const answer = await stand.call(UPLOADS, { method: "POST", headers: { authorization: `Bearer ${token}` } });
    t.equal(answer.status, 401, name);
    t.match(answer.headers.get("www-authenticate"), /error="(invalid_token|insufficient_scope)"/, name);
  }
  t.same(registry.requests, []);
  const good = await stand.call(UPLOADS, { method: "POST", headers: { authorization: `Bearer ${await tokens.sign()}` } });
  t.equal(good.status, 200, "a token without access is good for everything");
});

t.test("a token of a megabyte is refused before it is read", async (t) => {
  const stand = await openStand(t, await openRecorder(t));
  const answer = await raw(stand, `POST ${UPLOADS} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${"x".repeat(1_048_576)}\r\n\r\n`);
  t.match(answer, /^HTTP\/1\.1 431 /);
  t.match(JSON.parse(answer.split("\r\n\r\n")[1] ?? ""), { errors: [{ code: "UNSUPPORTED" }] });
});

t.test("nothing in a path makes the registry read another repository than was judged", async (t) => {
  const registry = await openRecorder(t);
  const stand = await openStand(t, registry);
  const token = await stand.token("repository:datagrok/a:pull,push");
  const paths = [
    "/v2/datagrok/a/../b/blobs/uploads/",
    "/v2/datagrok/a/%2e%2e/b/blobs/uploads/",
    "/v2/datagrok/a%2f..%2fb/blobs/uploads/",
    "/v2/datagrok/a/manifests/..%2f..%2fb%2fmanifests%2f1",
    "/v2/datagrok/a/manifests/..",
    "/v2/datagrok//a/blobs/uploads/",
    "/v2/datagrok/A/blobs/uploads/",
    "/v2/datagrok/a/blobs/uploads/x/y",
    "/v2/datagrok/a\\b/blobs/uploads/",
    "/v3/datagrok/a/blobs/uploads/",
    "/debug/vars",
  ];
  for (const path of paths) {
    const answer = await raw(
      stand,
      `POST ${path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nAuthorization: Bearer ${token}\r\nConnection: close\r\n\r\n`,
    );
    t.match(answer, /^HTTP\/1\.1 40[04] /, path);
  }
  const mounts: [query: string, status: number][] = [
    ["from=datagrok/b&mount=x", 401],
    ["mount=x&from=datagrok/a&from=datagrok/b", 400],
    ["mount=x;from=datagrok/b", 400],
    ["mount=x&fro%6d=datagrok%2fb", 401],
  ];
  for (const [query, status] of mounts) {
    const answer = await stand.call(`${UPLOADS}?${query}`, { method: "POST", headers: { authorization: `Bearer ${token}` } });
    t.equal(answer.status, status, query);
  }
  t.same(registry.requests, []);
  const mounted = await stand.call(`${UPLOADS}?mount=x&from=datagrok%2fb`, {
    method: "POST",
    scopes: ["repository:datagrok/a:pull,push", "repository:datagrok/b:pull"],
  });
  t.equal(mounted.status, 200);
});

t.test("deleting and listing all repositories take a token, and deleting one that says so", async (t) => {
  const registry = await openRecorder(t);
  const { call } = await openStand(t, registry);
  const manifest = "/v2/datagrok/a/manifests/1";
  t.equal((await call(manifest, { method: "DELETE" })).status, 401);
  t.equal((await call(manifest, { method: "DELETE", scopes: ["repository:datagrok/a:pull,push"] })).status, 401);
  t.equal((await call("/v2/_catalog")).status, 401);
  t.same(registry.requests, []);
  t.equal((await call(manifest, { method: "DELETE", scopes: ["repository:datagrok/a:delete"] })).status, 200);
  t.equal((await call("/v2/_catalog", { scopes: ["registry:catalog:*"] })).status, 200);
  t.equal((await call("/v2/datagrok/a/blobs/uploads/1", { method: "DELETE", scopes: ["repository:datagrok/a:push"] })).status, 200);
});

t.test("where reads are closed, they take a token that may pull", async (t) => {
  const registry = await openRecorder(t);
  const { call } = await openStand(t, registry, { anonymousPull: false });
  const manifest = "/v2/datagrok/a/manifests/1";
  t.equal((await call("/token?scope=repository:datagrok/a:pull")).status, 401);
  t.equal((await call(manifest)).status, 401);
  t.equal((await call(manifest, { headers: { authorization: "Bearer nonsense" } })).status, 401);
  t.equal((await call(manifest, { scopes: ["repository:datagrok/b:pull"] })).status, 401);
  t.same(registry.requests, []);
  t.equal((await call(manifest, { scopes: ["repository:datagrok/a:pull"] })).status, 200);
});

t.test("no server behind us sees a client's credentials; and a client's claims about itself are not trusted", async (t) => {
  const registry = await openRecorder(t);
  const { call } = await openStand(t, registry);
  const unseen = ["for", "port", "prefix", "scheme", "ssl"].map((name) => `x-forwarded-${name}`);
  const instead = ["http-method", "http-method-override", "method-override", "original-host", "original-method", "original-url", "rewrite-url"];
  unseen.push("x-real-ip", "forwarded", ...instead.map((name) => `x-${name}`));
  const headers = {
    ...Object.fromEntries(unseen.map((name) => [name, "DELETE"])),
    cookie: "auth=secret",
    "x-user-api-key": "secret",
    "x-forwarded-host": "evil.example",
    "x-forwarded-proto": "https",
  };
  const challenged = await call("/v2/", { headers });
  t.notMatch(challenged.headers.get("www-authenticate"), /evil|https/);
  await call("/v2/datagrok/a/manifests/1", { headers, scopes: ["repository:datagrok/a:pull"] });
  const [origin] = registry.requests;
  for (const name of ["authorization", ...Object.keys(headers)]) t.notOk(origin?.headers[name], name);
  t.equal(origin?.headers.host, `127.0.0.1:${registry.port}`);
});

t.test("a load balancer that is trusted says under which address clients see the proxy", async (t) => {
  const { call } = await openStand(t, await openRecorder(t), { trusted: ["loopback"] });
  const origin = { "x-forwarded-host": "registry.example", "x-forwarded-proto": "https" };
  t.match((await call("/v2/", { headers: origin })).headers.get("www-authenticate"), /realm="https:\/\/registry\.example\/token"/);
  const odd = { "x-forwarded-host": 'x",realm="http://evil', "x-forwarded-proto": "javascript" };
  t.match(
    (await call("/v2/", { headers: odd })).headers.get("www-authenticate"),
    /^Bearer realm="http:\/\/127\.0\.0\.1:\d+\/token",service="[^"]+"$/,
  );
});

/** Sends bytes that no client would, and answers with all that came back. */
function raw({ port }: RegistryFixture, bytes: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect({ port, host: "127.0.0.1" }, () => socket.write(bytes));
    let came = "";
    socket.on("data", (piece: Buffer) => void (came += piece.toString("latin1")));
    socket.on("error", () => (came === "" ? reject(new Error("nothing came")) : resolve(came)));
    socket.on("close", () => resolve(came));
  });
}

t.test("a form in the body mounts no layer of a repository that the token does not name", async (t) => {
  const registry = await openDistribution(t);
  const stand = await openStand(t, registry, { anonymousPull: false });
  const secret = "another author's layer";
  const digest = digestOf(secret);
  const begun = await fetch(`http://${registry.host}/v2/datagrok/secret/blobs/uploads/`, { method: "POST" });
  const at = new URL(begun.headers.get("location") ?? "", `http://${registry.host}`);
  at.searchParams.set("digest", digest);
  t.equal((await fetch(at, { method: "PUT", body: secret })).status, 201);

  const scopes = ["repository:datagrok/a:pull,push"];
  const form = new FormData();
  form.set("mount", digest);
  form.set("from", "datagrok/secret");
  for (const body of [new URLSearchParams({ mount: digest, from: "datagrok/secret" }), form]) {
    const answer = await stand.call(UPLOADS, { method: "POST", body, scopes });
    t.equal(answer.status, 202, "an upload of its own");
    const read = await stand.call(`/v2/datagrok/a/blobs/${digest}`, { scopes });
    t.equal(read.status, 404, await read.text());
  }
});
