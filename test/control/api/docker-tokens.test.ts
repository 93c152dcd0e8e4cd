import { createRemoteJWKSet, decodeJwt, decodeProtectedHeader, errors, type JSONWebKeySet, jwtVerify } from "jose";
import { createServer, request } from "node:http";
import t, { type Test } from "tap";
import { createRevokedGrants } from "../../../gateway/registry/verify-token.ts";
import type { ApiSettings } from "../../../control/api/api-deps.ts";
import { ADMIN_KEY, openApiFixture, type ApiFixture } from "./fixtures/open-api-fixture.ts";
import { createStillClock } from "../../fixtures/clock.ts";
import { listen } from "../../fixtures/server.ts";

const SERVICE = "registry.example:5000";
const FILES = { "dockerfiles/app/Dockerfile": "FROM scratch\nEXPOSE 80\n" };
const basic = (key: string, user = "any") => ({ authorization: `Basic ${Buffer.from(`${user}:${key}`).toString("base64")}` });
const query = (scopes: readonly string[], service = SERVICE) =>
  `/docker/token?account=any&client_id=docker&offline_token=true&service=${encodeURIComponent(service)}${scopes.map((scope) => `&scope=${encodeURIComponent(scope)}`).join("")}`;
const keysOf = ({ json }: { json: unknown }) => (json as JSONWebKeySet).keys;

const ask = (stand: ApiFixture, headers: Record<string, string>, ...scopes: string[]) => stand.call(query(scopes), { headers });

/** As a registry does: the keys are fetched from where they are published, here through a port that passes calls on to the API's socket. */
async function openVerifier(t: Test, { socketPath }: ApiFixture, path = "/api/docker/keys") {
  const server = createServer((incoming, answer) => {
    const passed = request({ socketPath, path: incoming.url, method: incoming.method }, (reply) => reply.pipe(answer));
    incoming.pipe(passed);
  });
  const { port } = await listen(t, server);
  const keys = createRemoteJWKSet(new URL(`http://127.0.0.1:${port}${path}`));
  return (token: string, issuer = "http://berth.example:8080") =>
    jwtVerify(token, keys, {
      algorithms: ["RS256"],
      issuer,
      audience: SERVICE,
      requiredClaims: ["exp", "nbf", "iat", "jti", "sub", "lim", "access"],
    });
}

const openPublished = async (t: Test, settings?: Partial<ApiSettings>) => {
  const stand = await openApiFixture(t, settings);
  const [anna, max] = [await stand.addUser("anna"), await stand.addUser("max")];
  await stand.publish("chem", FILES, { key: anna.key });
  return { ...stand, anna, max };
};

t.test("a developer key buys a token that the published keys verify", async (t) => {
  const stand = await openPublished(t);
  for (const path of ["/api/docker/keys", "/api/.well-known/jwks.json"]) {
    const verify = await openVerifier(t, stand, path);
    const { status, json, headers } = await ask(stand, basic(stand.anna.key), "repository:datagrok/chem-app:pull,push");
    t.equal(status, 200);
    t.equal(headers["cache-control"], "no-store");
    t.same([json["access_token"], json["expires_in"]], [json["token"], 1_800]);
    t.match(json["issued_at"], /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/);
    const { payload, protectedHeader } = await verify(json["token"] as string);
    t.match(protectedHeader, { alg: "RS256", typ: "JWT", kid: /^[\w-]{43}$/ });
    t.match(payload, { sub: "anna", lim: "docker", aud: SERVICE });
    t.same(payload["access"], [{ type: "repository", name: "datagrok/chem-app", actions: ["pull", "push"] }]);
    t.same([payload.exp, payload.nbf], [(payload.iat ?? 0) + 1_800, payload.iat]);
  }
});

t.test("a token that is requested at once after a revocation counts", async (t) => {
  const stand = await openPublished(t);
  await stand.identity.users.block("anna", stand.admin);
  await stand.identity.users.unblock("anna");
  const { json } = await ask(stand, basic(stand.anna.key), "repository:datagrok/chem-app:pull");
  const revoked = createRevokedGrants();
  revoked.replace(await stand.identity.revokedTokens.all());
  const issuedAt = decodeJwt(json["token"] as string).iat ?? 0;
  t.notOk(revoked.has({ subject: "anna", access: undefined, issuedAt }));
  t.ok(revoked.has({ subject: "anna", access: undefined, issuedAt: issuedAt - 1 }));
});

t.test("a token for rights that were read before a block does not count, although it is signed in a later second", async (t) => {
  const clock = createStillClock(1_800_000_000_900);
  const stand = await openApiFixture(t, {}, clock);
  const anna = await stand.addUser("anna");
  const { repositories } = stand.store;
  const [reached, released] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const { find } = repositories;
  repositories.find = async (key) => {
    reached.resolve();
    await released.promise;
    return find(key);
  };
  const pending = ask(stand, basic(anna.key), "repository:datagrok/new-app:push");
  await reached.promise;
  await stand.identity.users.block("anna", stand.admin);
  await clock.advance(1_000);
  released.resolve();
  const issuedAt = decodeJwt((await pending).json["token"] as string).iat ?? 0;
  const revoked = createRevokedGrants();
  revoked.replace(await stand.identity.revokedTokens.all());
  t.ok(revoked.has({ subject: "anna", access: undefined, issuedAt }));
});

t.test("keys are public, cacheable for a minute, and hold no private part", async (t) => {
  const stand = await openApiFixture(t);
  const first = await stand.call("/docker/keys");
  t.equal(first.status, 200);
  t.equal(first.headers["cache-control"], "public, max-age=60");
  t.equal(keysOf(first).length, 1, "there is one before the first token");
  t.same(Object.keys(keysOf(first)[0] ?? {}).toSorted(), ["alg", "e", "kid", "kty", "n", "use"]);
  const { json } = await ask(stand, basic(ADMIN_KEY));
  t.equal(decodeProtectedHeader(json["token"] as string).kid, keysOf(first)[0]?.kid);
  t.same((await stand.call("/.well-known/jwks.json")).json, first.json);
});

t.test("its issuer is the setting, else the web root, else the address of the request", async (t) => {
  for (const [settings, issuer] of [
    [{ issuer: "me", webRoot: "https://grok.example" }, "me"],
    [{ webRoot: "https://grok.example" }, "https://grok.example"],
    [{}, "http://berth.example:8080"],
  ] as const) {
    const stand = await openApiFixture(t, settings);
    const verify = await openVerifier(t, stand);
    const { json } = await ask(stand, basic(ADMIN_KEY));
    t.equal((await verify(json["token"] as string, issuer)).payload.iss, issuer);
    await t.rejects(verify(json["token"] as string, "other"), errors.JWTClaimValidationFailed);
    const { webRoot } = (await stand.call("/admin/startup_data")).json;
    if (!("issuer" in settings)) t.equal(webRoot, issuer, "where a registry finds it");
  }
});

t.test("who may push where", async (t) => {
  const stand = await openPublished(t);
  const verify = await openVerifier(t, stand);
  await stand.store.groups.put((await stand.addUser("ada")).user.id, ["lab"]);
  await stand.store.groups.put(stand.anna.user.id, ["lab"]);
  const rows: [who: string, key: string, repository: string, actions: string][] = [
    ["the author", stand.anna.key, "datagrok/chem-app", "pull,push"],
    ["a colleague of the author", "ada-key", "datagrok/chem-app", "pull,push"],
    ["another user", stand.max.key, "datagrok/chem-app", "pull"],
    ["another user, by the package's own name", stand.max.key, "datagrok/chem", "pull"],
    ["another user, a name without a publisher", stand.max.key, "datagrok/new-app", "pull,push"],
    ["another user, a longer name", stand.max.key, "datagrok/chem-apparatus", "pull,push"],
    ["another user, outside", stand.max.key, "library/debian", "pull"],
    ["another user, below", stand.max.key, "datagrok/a/b", "pull"],
    ["another user, nowhere", stand.max.key, "datagrok", "pull"],
    ["an administrator", ADMIN_KEY, "datagrok/chem-app", "pull,push,delete"],
    ["an administrator, outside", ADMIN_KEY, "library/debian", "pull,push,delete"],
  ];
  for (const [who, key, repository, actions] of rows) {
    const { json } = await ask(stand, basic(key), `repository:${repository}:pull,push,delete`);
    const { payload } = await verify(json["token"] as string);
    t.same(payload["access"], [{ type: "repository", name: repository, actions: actions.split(",") }], `${who}: ${repository}`);
  }
  await stand.publish("chem", {}, { key: stand.anna.key });
  const { json } = await ask(stand, basic(stand.max.key), "repository:datagrok/chem-app:push");
  t.same((await verify(json["token"] as string)).payload["access"], [], "an image that a package no longer has is still its own");
});

t.test("several scopes, repeated and in one, each get what is allowed; a login asks for none", async (t) => {
  const stand = await openPublished(t);
  const verify = await openVerifier(t, stand);
  const access = async (...scopes: string[]) =>
    (await verify((await ask(stand, basic(stand.max.key), ...scopes)).json["token"] as string)).payload["access"];
  t.same(await access(), []);
  t.same(
    await access("repository:datagrok/mine:pull,push repository:datagrok/chem-app:push", "repository:datagrok/chem-app:pull", "registry:catalog:*"),
    [
      { type: "repository", name: "datagrok/mine", actions: ["pull", "push"] },
      { type: "repository", name: "datagrok/chem-app", actions: ["pull"] },
      { type: "registry", name: "catalog", actions: ["*"] },
    ],
  );
});

t.test("a key of either kind is taken, whatever name stands beside it", async (t) => {
  const stand = await openPublished(t);
  const verify = await openVerifier(t, stand);
  for (const headers of [
    basic(stand.anna.key, ""),
    basic(stand.anna.key, "max"),
    { authorization: `basic   ${Buffer.from(`any:${stand.anna.key}`).toString("base64")} ` },
    basic(stand.anna.token),
    { authorization: `Dev ${stand.anna.key}` },
    { authorization: `Bearer ${stand.anna.token}` },
    { "x-user-api-key": stand.anna.token },
    { cookie: `auth=${stand.anna.token}` },
  ]) {
    const { status, json } = await ask(stand, headers);
    t.equal(status, 200, JSON.stringify(Object.keys(headers)));
    t.equal((await verify(json["token"] as string)).payload.sub, "anna");
  }
});

t.test("a wrong key is refused in words that docker shows, even where pulling needs none", async (t) => {
  const stand = await openApiFixture(t);
  const nobodys = [
    basic("wr0ng"),
    basic(""),
    { authorization: "Basic ====" },
    { authorization: `Basic ${btoa("no-colon")}` },
    { authorization: "Bearer wr0ng" },
  ];
  for (const headers of nobodys) {
    const { status, json, text, headers: received } = await ask(stand, headers, "repository:a:pull");
    t.equal(status, 401);
    t.match(received["www-authenticate"], /^Basic realm=/);
    t.match(json, { "#type": "ApiError", code: /INVALID$/, errors: [{ code: "UNAUTHORIZED", message: json["message"] as string }] });
    t.notMatch(text, /wr0ng/);
  }
});

t.test("anonymous callers get a token that grants nothing, and only for pulling", async (t) => {
  const stand = await openApiFixture(t);
  for (const scopes of [[], ["repository:a:pull"], ["repository:a:pull repository:b:pull"]]) {
    const { status, json } = await ask(stand, {}, ...scopes);
    t.equal(status, 200);
    t.equal(json["access_token"], json["token"]);
    t.ok((json["expires_in"] as number) >= 60);
    t.throws(() => decodeProtectedHeader(json["token"] as string), "no JWT");
  }
  for (const scope of ["repository:a:pull,push", "repository:a:delete", "registry:catalog:*"]) {
    const { status, json } = await ask(stand, {}, scope);
    t.equal(status, 401, scope);
    t.match(json, { code: "TOKEN_MISSING", errors: [{ code: "UNAUTHORIZED" }] });
  }
});

t.test("the OAuth2 form is the same by other words", async (t) => {
  const stand = await openPublished(t);
  const verify = await openVerifier(t, stand);
  const post = (form: Record<string, string> | string, type = "application/x-www-form-urlencoded; charset=utf-8") =>
    stand.call("/docker/token", {
      method: "POST",
      headers: { "content-type": type },
      body: typeof form === "string" ? form : String(new URLSearchParams(form)),
    });
  const scope = "repository:datagrok/chem-app:pull,push repository:datagrok/other:delete,pull";
  const form = {
    grant_type: "password",
    service: SERVICE,
    client_id: "containerd",
    access_type: "offline",
    scope,
    username: "x",
    password: stand.anna.key,
  };
  const { status, json } = await post(form);
  t.equal(status, 200);
  t.equal(json["scope"], "repository:datagrok/chem-app:pull,push repository:datagrok/other:pull");
  t.notOk("refresh_token" in json);
  t.equal((await verify(json["access_token"] as string)).payload.sub, "anna");

  for (const body of [new URLSearchParams({ ...form, service: "" }), new URLSearchParams({ ...form, service: "another" })]) {
    const headers = { "content-type": "application/x-www-form-urlencoded" };
    const { json } = await stand.call(`/docker/token?service=${SERVICE}`, { method: "POST", headers, body: String(body) });
    const audience = body.get("service") || SERVICE;
    t.equal(decodeJwt(json["access_token"] as string).aud, audience, "the registry that passes the form on names itself beside it");
  }

  const refused: [what: Record<string, string> | string, status: number, error: string, type?: string][] = [
    [{ ...form, password: "wr0ng" }, 401, "invalid_grant"],
    [{ grant_type: "refresh_token", service: SERVICE, refresh_token: "x" }, 400, "unsupported_grant_type"],
    [{ grant_type: "password", service: SERVICE }, 400, "invalid_request"],
    [{ service: SERVICE }, 400, "invalid_request"],
    ["", 400, "invalid_request"],
    [JSON.stringify(form), 400, "invalid_request", "application/json"],
    ["grant_type=password&grant_type=password&service=a&service=b", 400, "invalid_request"],
    [{ ...form, scope: "x".repeat(100_000) }, 400, "invalid_request"],
  ];
  for (const [what, wanted, error, type] of refused) {
    const { status, json, text } = await post(what, type);
    t.same([status, json["error"]], [wanted, error], JSON.stringify(what).slice(0, 80));
    t.match(json, { error_description: String, errors: [{ message: json["error_description"] as string }] });
    t.notMatch(text, /wr0ng|anna-key/);
  }
});

t.test("a client that repeats wrong keys has to wait, in both forms", async (t) => {
  const { call } = await openApiFixture(t);
  const from = { "x-berth-client": "9.9.9.9" };
  for (let tried = 0; tried < 10; tried++) t.equal((await call(query([]), { headers: { ...basic("wrong"), ...from } })).status, 401);
  const limited = await call(query([]), { headers: { ...basic(ADMIN_KEY), ...from } });
  t.equal(limited.status, 429);
  t.equal(limited.headers["retry-after"], "5");
  t.match(limited.json, { errors: [{ code: "TOOMANYREQUESTS" }] });
  const form = {
    method: "POST",
    headers: { "content-type": "application/x-www-form-urlencoded", ...from },
    body: `grant_type=password&password=${ADMIN_KEY}`,
  };
  t.equal((await call("/docker/token", form)).status, 429);
  t.equal((await call(query(["repository:a:pull"]), { headers: from })).status, 200, "who shows none is not slowed down");
  t.equal((await call(query([]), { headers: { ...basic(ADMIN_KEY), "x-berth-client": "9.9.9.8" } })).status, 200);
});
