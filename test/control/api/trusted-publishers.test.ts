import { createHmac } from "node:crypto";
import type { ServerResponse } from "node:http";
import { base64url, decodeJwt, exportSPKI, importJWK } from "jose";
import t, { type Test } from "tap";
import type { Clock } from "../../../lib/clock.ts";
import { type CiIssuer, openCiIssuer } from "../../fixtures/ci-issuer.ts";
import { createStillClock } from "../../fixtures/clock.ts";
import { eventually } from "../../fixtures/eventually.ts";
import { makeZip } from "../packages/publish/fixtures/make-zip.ts";
import { ADMIN_KEY, type ApiFixture, openApiFixture } from "./fixtures/open-api-fixture.ts";

const GRANT = "urn:ietf:params:oauth:grant-type:token-exchange";
const TYPE = "urn:ietf:params:oauth:token-type:id_token";
const FILES = { "dockerfiles/app/Dockerfile": "FROM scratch\nEXPOSE 80\n" };
const MINUTE = 60_000;

const form = (values: Record<string, string>) => ({
  method: "POST",
  headers: { "content-type": "application/x-www-form-urlencoded" },
  body: Buffer.from(new URLSearchParams(values).toString()),
});
const exchange = (stand: ApiFixture, token: string, more: Record<string, string> = {}) =>
  stand.call("/users/login/ci", form({ grant_type: GRANT, subject_token: token, subject_token_type: TYPE, ...more }));
const add = (stand: ApiFixture, body: object) =>
  stand.get("/admin/trusted-publishers", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: Buffer.from(JSON.stringify(body)),
  });

type Stand = ApiFixture & { issuer: CiIssuer; anna: Awaited<ReturnType<ApiFixture["addUser"]>>; body: Record<string, unknown>; clock: Clock };

async function open(t: Test, changes: Record<string, unknown> = {}): Promise<Stand & { advance(ms: number): Promise<void> }> {
  const clock = createStillClock();
  const stand = await openApiFixture(t, { webRoot: "https://berth.example" }, clock);
  const issuer = await openCiIssuer(t, { now: () => clock.now() });
  const anna = await stand.addUser("anna");
  const body = {
    name: "release",
    issuer: issuer.url,
    claims: { repository: "acme/plugins", ref: "refs/heads/*" },
    login: "anna",
    packages: ["chem"],
    ...changes,
  };
  const added = await add(stand, body);
  t.equal(added.status, 200, JSON.stringify(added.json));
  return { ...stand, issuer, anna, body, clock, advance: (ms) => clock.advance(ms) };
}

/** The token that a job receives. */
async function jobToken(t: Test, stand: Stand, changes = {}): Promise<string> {
  const { status, json } = await exchange(stand, await stand.issuer.sign(changes));
  t.equal(status, 200, JSON.stringify(json));
  return json["access_token"] as string;
}

const dockerAccess = async (stand: ApiFixture, token: string, ...scopes: string[]) => {
  const query = scopes.map((scope) => `&scope=${encodeURIComponent(scope)}`).join("");
  const { status, json } = await stand.call(`/docker/token?service=registry${query}`, {
    headers: { authorization: `Basic ${Buffer.from(`token:${token}`).toString("base64")}` },
  });
  return { status, json, access: status === 200 ? decodeJwt(json["token"] as string)["access"] : undefined };
};

t.test("a job exchanges its identity token, and publishes and pushes what its publisher names; nothing else", async (t) => {
  const stand = await open(t);
  const { status, json } = await exchange(stand, await stand.issuer.sign());
  t.equal(status, 200);
  t.match(json, {
    access_token: /^berth_job_[\w-]{43}$/,
    issued_token_type: "urn:ietf:params:oauth:token-type:access_token",
    token_type: "Bearer",
    expires_in: 900,
    publisher: "release",
    login: "anna",
    packages: ["chem"],
    repositories: ["datagrok/chem", "datagrok/chem-*"],
  });
  const token = json["access_token"] as string;
  t.equal((await stand.publish("chem", FILES, { key: token })).status, 200);
  const chem = await stand.store.packages.byName("chem");
  t.equal(chem?.authorId, stand.anna.user.id, "the author is the publisher's user");
  t.equal((await stand.publish("other", FILES, { key: token })).status, 403);

  const dev = { headers: { authorization: `Dev ${token}` } };
  const [image] = await stand.store.images.all();
  await stand.publish("secret", FILES, { key: stand.anna.key });
  const secret = (await stand.store.images.all()).find(({ name }) => name === "secret-app");
  t.match((await stand.call("/users/current", dev)).json, { login: "anna" });
  t.equal((await stand.call(`/docker/images/${image?.id}`, dev)).status, 200);
  t.equal((await stand.call(`/docker/images/${secret?.id}`, dev)).status, 403);
  t.equal((await stand.call("/docker/images/secret-app/latest-compatible?version=1.0.0", dev)).status, 404);

  const [container] = await stand.store.containers.all();
  const refused: [method: string, path: string][] = [
    ["GET", "/docker/containers"],
    ["GET", "/docker/images"],
    ["GET", `/docker/containers/${container?.id}/run`],
    ["GET", "/users"],
    ["GET", "/users/current/keys"],
    ["POST", "/users/current/keys"],
    ["POST", "/users/login/dev"],
    ["POST", "/users/login/dev?administration=true"],
    ["GET", "/admin/trusted-publishers"],
    ["GET", "/admin/audit"],
    ["DELETE", "/admin/trusted-publishers/release"],
  ];
  for (const [method, path] of refused)
    for (const headers of [
      { authorization: `Dev ${token}` },
      { authorization: `Bearer ${token}` },
      { authorization: token },
      { "x-user-api-key": token },
    ])
      t.equal((await stand.call(path, { method, headers })).status, 401, `${method} ${path} ${Object.values(headers)[0]?.slice(0, 6)}`);
  t.equal(await stand.identity.who(token), undefined, "gateways do not accept it");

  t.same((await dockerAccess(stand, token, "repository:datagrok/chem-app:pull,push")).access, [
    { type: "repository", name: "datagrok/chem-app", actions: ["pull", "push"] },
  ]);
  t.same((await dockerAccess(stand, token, "repository:datagrok/chem-new:push", "repository:datagrok/chem:push,delete")).access, [
    { type: "repository", name: "datagrok/chem-new", actions: ["push"] },
    { type: "repository", name: "datagrok/chem", actions: ["push"] },
  ]);
  for (const scope of [
    "repository:datagrok/secret-app:pull,push",
    "repository:library/debian:pull",
    "registry:catalog:*",
    "repository:datagrok/chem-app:delete",
  ])
    t.same((await dockerAccess(stand, token, scope)).access, [], scope);
});

t.test("the name in package.json must be one of the publisher's too", async (t) => {
  const stand = await open(t);
  t.equal((await stand.publish("@acme/chem", FILES, { key: stand.anna.key })).status, 200);
  const headers = { authorization: `Dev ${await jobToken(t, stand)}` };
  const publishAs = async (path: string, name: string) => {
    const body = await makeZip({ "package.json": JSON.stringify({ name, version: "6.6.6" }), ...FILES });
    return stand.call(`/packages/dev/${path}`, { method: "POST", headers, body });
  };
  for (const [path, name] of [
    ["chem", "@acme/chem"],
    ["chem", "@new/chem"],
    ["chem", "Chem"],
    ["@acme/chem", "@acme/chem"],
    ["CHEM", "chem"],
  ] as const)
    t.match(await publishAs(path, name), { status: 403, json: { code: "NOT_PERMITTED" } }, `${name} at ${path}`);
  t.match(
    (await stand.store.packages.all()).map(({ name, version }) => `${name} ${version}`),
    ["@acme/chem 1.0.0"],
  );
});

t.test("an upload that is under way ends with its publisher", async (t) => {
  const stand = await open(t);
  const body = await makeZip({ "package.json": JSON.stringify({ name: "chem", version: "1.0.0" }), ...FILES });
  const half = async (token: string) => {
    const upload = stand.upload("/packages/dev/chem", { authorization: `Dev ${token}` });
    upload.write(body.subarray(0, 100));
    await eventually("the upload begins", () => stand.incoming() === 1);
    return { rest: () => upload.end(body.subarray(100)), response: upload.response };
  };
  const byRemoved = await half(await jobToken(t, stand));
  await stand.get("/admin/trusted-publishers/release", { method: "DELETE" });
  byRemoved.rest();
  t.match(await byRemoved.response, { status: 401, json: { code: "TOKEN_INVALID" } });

  await add(stand, stand.body);
  const byBlocked = await half(await jobToken(t, stand));
  await stand.identity.users.block("anna", stand.admin);
  byBlocked.rest();
  t.match(await byBlocked.response, { status: 401 });
  await stand.identity.users.unblock("anna");
  t.same(await stand.store.packages.all(), []);
});

t.test("the audit log names the job, and has no token", async (t) => {
  const stand = await open(t);
  const identityToken = await stand.issuer.sign();
  const { json } = await exchange(stand, identityToken);
  await stand.publish("chem", FILES, { key: json["access_token"] as string });
  const job = "repository=acme/plugins ref=refs/heads/main run_id=4711";
  const entries = await stand.store.audit.list({ limit: 10 });
  t.match(
    entries.map(({ action, target, login, via }) => [action, target, login, via]),
    [
      ["packagePublished", "chem", "anna", `trusted publisher release: ${job}`],
      ["jobSignedIn", `release: ${job}`, "anna", `trusted publisher release: ${job}`],
      ["trustedPublisherAdded", /^release: http:.*"repository":"acme\/plugins"/, "admin"],
    ],
  );
  const text = JSON.stringify(entries);
  t.notMatch(text, json["access_token"] as string);
  t.notMatch(text, identityToken);
});

t.test("a token ends with its lifetime, and with its publisher", async (t) => {
  const stand = await open(t, { lifetimeMinutes: 3 });
  const works = async (token: string) => (await stand.call("/users/current", { headers: { authorization: `Dev ${token}` } })).status === 200;
  const first = await jobToken(t, stand);
  const dockerSeconds = async () => (await dockerAccess(stand, first, "repository:datagrok/chem:push")).json["expires_in"];
  t.equal(await dockerSeconds(), 120, "docker tokens are short, since no registry looks up whether the publisher exists");
  await stand.advance(2 * MINUTE);
  t.equal(await dockerSeconds(), 60, "and end with it");
  t.ok(await works(first));
  await stand.advance(MINUTE);
  t.notOk(await works(first));
  t.equal((await dockerAccess(stand, first)).status, 401);
  const second = await jobToken(t, stand);
  t.ok(await works(second));
  t.equal((await stand.get("/admin/trusted-publishers/release", { method: "DELETE" })).status, 200);
  t.notOk(await works(second));
  t.equal((await stand.publish("chem", FILES, { key: second })).status, 401);
  t.equal((await add(stand, stand.body)).status, 200);
  t.notOk(await works(second), "another one of the same name does not bring it back");
  t.equal((await stand.get("/admin/trusted-publishers/other", { method: "DELETE" })).status, 404);
});

t.test("an identity token that is not exactly right is refused", async (t) => {
  const stand = await open(t);
  const { issuer } = stand;
  const seconds = Math.floor(stand.clock.now() / 1_000);
  const wrong: Record<string, Record<string, unknown>> = {
    "another repository": { repository: "acme/other" },
    "a repository with this one as its beginning": { repository: "acme/plugins2" },
    "a ref below the pattern": { ref: "refs/heads/a/b" },
    "no ref": { ref: undefined },
    "a ref that is a list": { ref: ["refs/heads/main"] },
    "another audience": { aud: "https://other.example" },
    "several audiences": { aud: ["https://berth.example", "https://other.example"] },
    "no audience": { aud: undefined },
    "another issuer": { iss: "https://token.actions.githubusercontent.com" },
    "an issuer with a slash": { iss: `${issuer.url}/` },
    expired: { exp: seconds - 61 },
    "no expiry": { exp: undefined },
    "valid later": { nbf: seconds + 61 },
    "issued later": { iat: seconds + 61 },
    "issued too long ago": { iat: seconds - 2 * 24 * 3_600, exp: seconds + 300 },
  };
  for (const [name, changes] of Object.entries(wrong)) {
    const { status, json } = await exchange(stand, await issuer.sign(changes));
    t.match([status, json], [401, { code: "TOKEN_INVALID", error: "invalid_grant" }], name);
  }
  const part = (value: object) => base64url.encode(JSON.stringify(value));
  const payload = decodeJwt(await issuer.sign());
  const pem = await exportSPKI((await importJWK(issuer.key().publicKey, "ES256", { extractable: true })) as CryptoKey);
  const hs256 = `${part({ alg: "HS256", kid: "first", typ: "JWT" })}.${part(payload)}`;
  const forged: Record<string, string> = {
    "alg none": `${part({ alg: "none", typ: "JWT" })}.${part(payload)}.`,
    "HS256 with the public key": `${hs256}.${createHmac("sha256", pem).update(hs256).digest("base64url")}`,
    "an unknown key id": await issuer.sign({}, { kid: "unknown" }),
    "another key of that id": await issuer.sign({}, { privateKey: (await (await openCiIssuer(t)).rotate("first")).privateKey }),
    "a changed payload": (await issuer.sign()).replace(/\.[^.]+\./, `.${part({ ...payload, run_id: "1" })}.`),
    "no JWT": "token",
    "very long": `${await issuer.sign()}${"A".repeat(20_000)}`,
  };
  await stand.advance(MINUTE);
  for (const [name, token] of Object.entries(forged)) t.match(await exchange(stand, token), { status: 401, json: { code: "TOKEN_INVALID" } }, name);
  t.match(await exchange(stand, await issuer.sign(), { grant_type: "password" }), { status: 400, json: { error: "unsupported_grant_type" } });
  for (const changes of [{ exp: seconds + 30 }, { nbf: seconds + 110, iat: seconds + 110 }])
    t.equal((await exchange(stand, await issuer.sign(changes))).status, 200, "clocks may differ by a minute");
});

t.test("each identity token is exchanged once", async (t) => {
  const stand = await open(t);
  const token = await stand.issuer.sign();
  const both = await Promise.all([exchange(stand, token), exchange(stand, token)]);
  t.same(
    both.map(({ status }) => status).toSorted((a, b) => a - b),
    [200, 401],
  );
  t.match((await exchange(stand, token)).json, { code: "TOKEN_INVALID", message: /exchanged before/ });
  const withoutId = await stand.issuer.sign({ jti: undefined });
  t.equal((await exchange(stand, withoutId)).status, 200);
  t.equal((await exchange(stand, withoutId)).status, 401);
  await stand.advance(20 * MINUTE);
  await jobToken(t, stand);
  t.equal(await stand.store.jobTokens.countOf("release"), 1, "what no longer counts is removed");
});

t.test("keys of an issuer are cached, and rotated ones are found", async (t) => {
  const stand = await open(t);
  const { issuer } = stand;
  const loads = () => issuer.requests.filter((path) => path === "/keys").length;
  await jobToken(t, stand);
  await jobToken(t, stand);
  t.equal(loads(), 1);
  await stand.advance(MINUTE);
  await issuer.rotate("second", { alg: "RS256" });
  await jobToken(t, stand);
  t.equal(loads(), 2, "an unknown key id loads them again");
  for (const kid of ["a", "b", "c"]) t.equal((await exchange(stand, await issuer.sign({}, { kid }))).status, 401);
  t.equal(loads(), 2, "invented ids do not, for a while");
  issuer.publish([]);
  await stand.advance(11 * MINUTE);
  t.equal((await exchange(stand, await issuer.sign())).status, 401, "a withdrawn key counts for ten minutes");
});

t.test("an issuer that misbehaves costs a bounded answer, and is left alone for a while", async (t) => {
  const misbehaviours: [name: string, path: string, reply: (issuer: CiIssuer) => Parameters<CiIssuer["replies"]["set"]>[1], message: RegExp][] = [
    ["too large", "/keys", () => (_request, response) => void response.end(`{"keys":[${"{},".repeat(200_000)}{}]}`), /larger than 262144 bytes/],
    [
      "too many keys",
      "/keys",
      () => (_request, response) => void response.end(JSON.stringify({ keys: Array.from({ length: 101 }, () => ({})) })),
      /101 keys/,
    ],
    ["no keys", "/keys", () => (_request, response) => void response.end('{"keys":7}'), /has no keys/],
    [
      "a redirect",
      "/keys",
      ({ url }) =>
        (_request, response) =>
          void response.writeHead(302, { location: `${url}/elsewhere` }).end(),
      /answers 302/,
    ],
    ["broken off", "/keys", () => (request) => void request.socket.destroy(), /ECONNRESET|socket hang up/],
    [
      "another issuer",
      "/.well-known/openid-configuration",
      ({ url }) =>
        (_request, response) =>
          void response.end(JSON.stringify({ issuer: "https://other.example", jwks_uri: `${url}/keys` })),
      /names the issuer "https:\/\/other\.example"/,
    ],
    [
      "keys elsewhere",
      "/.well-known/openid-configuration",
      ({ url }) =>
        (_request, response) =>
          void response.end(JSON.stringify({ issuer: url, jwks_uri: "http://169.254.169.254/latest" })),
      /is not at http:\/\/127/,
    ],
  ];
  const stand = await open(t);
  for (const [name, path, reply, message] of misbehaviours) {
    const issuer = await openCiIssuer(t, { now: () => stand.clock.now() });
    issuer.replies.set(path, reply(issuer));
    t.equal((await add(stand, { ...stand.body, name: name.replaceAll(" ", "-"), issuer: issuer.url })).status, 200);
    const { status, json } = await exchange(stand, await issuer.sign());
    t.match([status, json["message"]], [502, message], name);
    const before = issuer.requests.length;
    await exchange(stand, await issuer.sign());
    t.equal(issuer.requests.length, before, `${name}: a pause follows`);
    t.notOk(issuer.requests.includes("/elsewhere"), name);
    issuer.replies.clear();
    await stand.advance(2_000);
    t.equal((await exchange(stand, await issuer.sign())).status, 200, `${name}: it recovers`);
  }
});

t.test("an issuer that does not answer ends a sign-in after ten seconds", async (t) => {
  const stand = await open(t);
  const requested = Promise.withResolvers<void>();
  stand.issuer.replies.set("/keys", (_request, response) => {
    response.write("{");
    requested.resolve();
  });
  const refused = exchange(stand, await stand.issuer.sign());
  await requested.promise;
  await stand.advance(10_000);
  t.match(await refused, { status: 502, json: { code: "ISSUER_UNUSABLE", message: /no response within 10 s/ } });
});

t.test("a trusted publisher is as narrow as it must be", async (t) => {
  const stand = await open(t);
  const github = "https://token.actions.githubusercontent.com";
  const broad: [change: Record<string, unknown>, message: RegExp][] = [
    [{ claims: {} }, /1 to 10 claims/],
    [{ claims: { repository: "*" } }, /too broad/],
    [{ claims: { repository: "*/plugins" } }, /too broad/],
    [{ claims: { repository: "acme*" } }, /too broad: name the owner/],
    [{ claims: { repository: "acme/p*l*u*g*" } }, /too broad/],
    [{ claims: { sub: "repo:*" } }, /too broad/],
    [{ claims: { project_path: "ac*/plugins" } }, /too broad/],
    [{ claims: { repository: "acme/*" } }, /At least one claim must be exact/],
    [{ issuer: github, claims: { repository_owner_id: "1*" } }, /repository_owner_id=1\* is too broad: an id must be exact/],
    [{ issuer: "https://gitlab.com", claims: { project_path: "acme/plugins", namespace_id: "4*2" } }, /an id must be exact/],
    [{ claims: { iss: "x" } }, /cannot be a condition/],
    [{ claims: { repository: "" } }, /1 to 255/],
    [{ issuer: github, claims: { ref: "refs/heads/main" } }, /Jobs of all users/],
    [{ issuer: "https://gitlab.com", claims: { ref: "main", repository: "acme/plugins" } }, /Jobs of all users/],
    [{ issuer: "http://issuer.example" }, /must be an https URL/],
    [{ issuer: "https://user:key@issuer.example" }, /must be an https URL/],
    [{ issuer: "https://issuer.example/?a=b" }, /must be an https URL/],
    [{ issuer: "file:///etc/passwd" }, /must be an https URL/],
    [{ audience: "*" }, /no audience/],
    [{ packages: [] }, /1 to 20 packages/],
    [{ packages: ["*"] }, /no name of a package/],
    [{ repositories: ["datagrok/*"] }, /no repository/],
    [{ repositories: ["library/debian"] }, /no repository/],
    [{ rights: [] }, /at least one right/],
    [{ lifetimeMinutes: 61 }, /lifetimeMinutes|60/],
    [{ name: "Release!" }, /no name/],
  ];
  for (const [change, message] of broad) {
    const { status, json } = await add(stand, { ...stand.body, name: "next", ...change });
    t.match([status, json["message"]], [400, message], JSON.stringify(change));
  }
  t.match(await add(stand, { ...stand.body, name: "next", login: "unknown" }), { status: 404 });
  t.match(await add(stand, stand.body), { status: 409, json: { code: "NAME_TAKEN" } });
  const narrow = [
    { name: "next-1", issuer: github, claims: { repository: "acme/*", ref: "refs/tags/v*" } },
    { name: "next-2", rights: ["pull"], repositories: [] },
  ];
  for (const change of narrow) t.equal((await add(stand, { ...stand.body, ...change })).status, 200);
  t.match((await stand.get("/admin/trusted-publishers")).json, [
    { name: "next-1" },
    { name: "next-2" },
    { name: "release", login: "anna", lifetimeMinutes: 15 },
  ]);
  const anna = { headers: { authorization: `Dev ${stand.anna.key}` } };
  t.equal((await stand.call("/admin/trusted-publishers", anna)).status, 403, "for administrators");
});

t.test("rights are those that the publisher has, and never more than its user's", async (t) => {
  const stand = await open(t, { rights: ["pull"] });
  await stand.addUser("max");
  await stand.publish("owned", FILES, { key: ADMIN_KEY });
  const reader = await jobToken(t, stand);
  t.equal((await stand.publish("chem", FILES, { key: reader })).status, 403);
  t.match((await dockerAccess(stand, reader, "repository:datagrok/chem:pull,push")).access, { length: 1, 0: { actions: { length: 1, 0: "pull" } } });
  const claims = { repository: "acme/other" };
  await add(stand, { ...stand.body, name: "foreign", claims, packages: ["owned", "mine"], login: "max" });
  const foreign = await jobToken(t, stand, claims);
  t.equal((await stand.publish("owned", FILES, { key: foreign })).status, 403, "its user is not the author");
  t.match((await dockerAccess(stand, foreign, "repository:datagrok/owned-app:pull,push")).access, {
    length: 1,
    0: { actions: { length: 1, 0: "pull" } },
  });
  await stand.publish("mine-too", FILES, { key: "max-key" });
  t.same(
    (await dockerAccess(stand, foreign, "repository:datagrok/mine-too-app:push")).access,
    [],
    "a repository of a package of its user that the publisher does not name",
  );
});

t.test("of several publishers that match a job, the job chooses one", async (t) => {
  const stand = await open(t);
  await add(stand, { ...stand.body, name: "reader", rights: ["pull"] });
  t.match((await exchange(stand, await stand.issuer.sign())).json, { code: "REQUEST_INVALID", message: /reader, release/ });
  t.match((await exchange(stand, await stand.issuer.sign(), { publisher: "reader" })).json, { publisher: "reader" });
  t.match(await exchange(stand, await stand.issuer.sign(), { publisher: "none" }), { status: 401 });
});

t.test("jobs of a blocked user do nothing; removing the user removes the publisher", async (t) => {
  const stand = await open(t);
  const token = await jobToken(t, stand);
  await stand.store.users.update(stand.anna.user.id, { blockedOn: stand.clock.now() });
  t.equal((await stand.publish("chem", FILES, { key: token })).status, 401);
  t.match(await exchange(stand, await stand.issuer.sign()), { status: 401, json: { message: /blocked/ } });
  await stand.store.users.update(stand.anna.user.id, { blockedOn: undefined });
  t.equal((await stand.call("/users/current", { headers: { authorization: `Dev ${token}` } })).status, 200);
  t.equal((await stand.get("/users/anna", { method: "DELETE" })).status, 200);
  t.same((await stand.get("/admin/trusted-publishers")).json, []);
  t.equal((await stand.call("/users/current", { headers: { authorization: `Dev ${token}` } })).status, 401);
});

t.test("a publisher that is replaced while the issuer's keys are loaded decides by its new claims", async (t) => {
  const stand = await open(t);
  const { issuer, body } = stand;
  const held = Promise.withResolvers<ServerResponse>();
  issuer.replies.set("/keys", (_request, response) => held.resolve(response));
  const pending = exchange(stand, await issuer.sign());
  const response = await held.promise;
  t.equal((await stand.get("/admin/trusted-publishers/release", { method: "DELETE" })).status, 200);
  t.equal((await add(stand, { ...body, claims: { repository: "acme/plugins", ref: "refs/heads/release" } })).status, 200);
  response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify({ keys: [issuer.key().publicKey] }));
  t.match(await pending, { status: 401, json: { access_token: undefined } });
});
