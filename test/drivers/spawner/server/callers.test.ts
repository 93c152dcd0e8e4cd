import { createHmac } from "node:crypto";
import { exportSPKI, UnsecuredJWT } from "jose";
import t, { type Test } from "tap";
import { systemClock } from "../../../../lib/clock.ts";
import { openLog } from "../../../../lib/log.ts";
import { datagrokKeys, openSigners } from "../../../../lib/jwks/signers.ts";
import { SPAWNER_KEY } from "../../../fixtures/spawner.ts";
import { makeSigner, openTokenServer } from "../../../gateway/registry/token-server.ts";
import { openStand } from "./fixture.ts";

const log = openLog({ level: "silent", name: "test" });
const AUDIENCE = "datagrok-spawner";

/** A spawner that takes the tokens of a server of the test's. */
async function openServed(t: Test) {
  const tokens = await openTokenServer(t);
  const server = datagrokKeys(tokens.url, systemClock());
  t.teardown(() => server.close());
  const stand = await openStand(t, { signers: openSigners({ server, issuer: undefined, clock: systemClock(), log }) });
  const status = async (headers: Record<string, string>) => (await stand.ask("GET", "/services", { headers })).status;
  const sign = (claims: Record<string, unknown> = {}, header: Record<string, unknown> = {}) =>
    tokens.sign({ aud: AUDIENCE, lim: undefined, ...claims }, header);
  const bearer = (token: string) => status({ authorization: `Bearer ${token}` });
  return { tokens, stand, status, sign, bearer };
}

t.test("the key opens, and no other does, however near", async (t) => {
  const { status } = await openServed(t);
  t.equal(await status({ "x-api-key": SPAWNER_KEY }), 200);
  for (const wrong of ["", "x", SPAWNER_KEY.slice(0, -1), `${SPAWNER_KEY}x`, SPAWNER_KEY.toUpperCase(), `${SPAWNER_KEY}, ${SPAWNER_KEY}`])
    t.equal(await status({ "x-api-key": wrong }), 401, wrong);
  t.equal(await status({ authorization: SPAWNER_KEY }), 401);
  t.equal(await status({ authorization: `Bearer ${SPAWNER_KEY}` }), 401);
});

t.test("a token of the server opens, with or without the mark of its own, and beside a wrong key too", async (t) => {
  const { status, sign, bearer } = await openServed(t);
  t.equal(await bearer(await sign()), 200);
  t.equal(await bearer(await sign({ lim: "spawner" })), 200);
  t.equal(await bearer(await sign({ aud: ["other", AUDIENCE] })), 200);
  t.equal(await status({ "x-api-key": "wrong", authorization: `Bearer ${await sign()}` }), 200);
});

t.test("a token that is for something else, over, or forged opens nothing", async (t) => {
  const { tokens, sign, bearer } = await openServed(t);
  const now = Math.floor(Date.now() / 1_000);
  const foreign = await openTokenServer(t);
  const claims = { iss: tokens.issuer, aud: AUDIENCE, sub: "x", exp: now + 600, iat: now };
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString("base64url");
  // The public key, which everybody has, taken for a shared secret.
  const { kid, publicKey } = tokens.signer();
  const signed = `${part({ alg: "HS256", kid })}.${part(claims)}`;
  const confused = `${signed}.${createHmac("sha256", await exportSPKI(publicKey))
    .update(signed)
    .digest("base64url")}`;
  const other = await makeSigner(kid);
  const [head = "", , signature = ""] = (await sign()).split(".");
  const forged: Record<string, string> = {
    "that any user gets for a registry, who names this audience": await sign({ lim: "docker" }),
    "for another audience": await sign({ aud: "datagrok-mq" }),
    "without an audience": await sign({ aud: undefined }),
    "of another issuer": await sign({ iss: "http://elsewhere" }),
    "without an issuer": await sign({ iss: undefined }),
    "that has expired": await sign({ exp: now - 120 }),
    "that never expires": await sign({ exp: undefined }),
    "that is not good yet": await sign({ nbf: now + 300 }),
    "signed by another server": await foreign.sign({ aud: AUDIENCE, lim: undefined, iss: tokens.issuer }),
    unsigned: new UnsecuredJWT(claims).encode(),
    "signed with the public key": confused,
    "with other claims under a good signature": `${head}.${part({ ...claims, sub: "root" })}.${signature}`,
    "that brings its own key": await foreign.sign({ aud: AUDIENCE, lim: undefined, iss: tokens.issuer }, { jwk: other.kid, jku: foreign.url }),
    "that is none": "not.a.token",
    "that is longer than any": `${"a".repeat(20_000)}.b.c`,
  };
  // The last has a head too large for the server, which says so.
  for (const [name, token] of Object.entries(forged)) t.ok([401, 431].includes(await bearer(token)), name);
  t.equal(await bearer(await sign()), 200, "and a good one still does");
});

t.test("a new key counts at once, and an unavailable server locks out no known caller", async (t) => {
  const { tokens, sign, bearer } = await openServed(t);
  t.equal(await bearer(await sign()), 200);
  await tokens.rotate("second");
  t.equal(await bearer(await sign()), 200);
  tokens.away = true;
  t.equal(await bearer(await sign()), 200);
});

t.test("where no server is set, a token opens nothing and says what to do", async (t) => {
  const tokens = await openTokenServer(t);
  const { ask } = await openStand(t);
  const answer = await ask("GET", "/services", { headers: { authorization: `Bearer ${await tokens.sign({ aud: AUDIENCE, lim: undefined })}` } });
  t.equal(answer.status, 401);
  t.match((JSON.parse(answer.text) as { message: string }).message, /DATAGROK_URL/);
});

t.test("before the first JWKS, a caller with a token has to retry, and a caller with the key is accepted", async (t) => {
  const { tokens, stand, status, sign } = await openServed(t);
  const token = await sign();
  tokens.away = true;
  const answer = await stand.ask("GET", "/services", { headers: { authorization: `Bearer ${token}` } });
  t.equal(answer.status, 503);
  t.ok(Number(answer.headers["retry-after"]) > 0);
  t.equal(await status({ "x-api-key": SPAWNER_KEY }), 200);
});
