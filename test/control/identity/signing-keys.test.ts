import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { createLocalJWKSet, decodeProtectedHeader, type JSONWebKeySet, jwtVerify } from "jose";
import t, { type Test } from "tap";
import { createSigningKeys } from "../../../control/identity/signing-keys.ts";
import { openKeyFile } from "../../../control/packages/credentials/key-file.ts";
import { openVault } from "../../../control/packages/credentials/open-vault.ts";
import { openLog } from "../../../lib/log.ts";
import { createStillClock } from "../../fixtures/clock.ts";
import { ADMIN_KEY, openApiFixture } from "../api/fixtures/open-api-fixture.ts";

const MINUTE = 60_000;
const log = openLog({ level: "silent", name: "test" });

/** The API, at a time that stands still. */
async function open(t: Test) {
  const clock = createStillClock();
  const stand = await openApiFixture(t, {}, clock);
  const authorization = `Basic ${Buffer.from(`any:${ADMIN_KEY}`).toString("base64")}`;
  const token = async () => (await stand.call("/docker/token?service=x", { headers: { authorization } })).json["token"] as string;
  const published = async () => (await stand.call("/docker/keys")).json as unknown as JSONWebKeySet;
  return {
    ...stand,
    clock,
    token,
    published,
    kids: async () => (await published()).keys.map(({ kid }) => kid),
    kidOf: (token: string) => decodeProtectedHeader(token).kid ?? "",
    verified: async (token: string) =>
      jwtVerify(token, createLocalJWKSet(await published()), { currentDate: new Date(clock.now()), clockTolerance: 60 }).then(
        () => true,
        () => false,
      ),
    rotate: async () => (await stand.get("/admin/keys/rotate", { method: "POST" })).json["kid"] as string,
    revoke: async (kid: string) => (await stand.get(`/admin/keys/${kid}`, { method: "DELETE" })).status,
  };
}

t.test("a rotated key signs no more, and is published until its last token has ended anywhere", async (t) => {
  const { clock, token, kids, kidOf, verified, rotate } = await open(t);
  const old = await token();
  await clock.advance(10 * MINUTE);
  const last = await token();
  t.equal(kidOf(last), kidOf(old), "one key signs them all");
  const kid = await rotate();
  const fresh = await token();
  t.equal(kidOf(fresh), kid);
  t.same(await kids(), [kid, kidOf(old)]);
  await clock.advance(20 * MINUTE + 61_000);
  t.same([await verified(old), await verified(last), await verified(fresh)], [false, true, true], "each until its own end");
  await clock.advance(10 * MINUTE - 2_000);
  t.same(await kids(), [kid, kidOf(old)]);
  await clock.advance(1_000);
  t.same(await kids(), [kid]);
});

t.test("a revoked key is not published any more, and another one signs", async (t) => {
  const { get, token, kids, kidOf, verified, rotate, revoke } = await open(t);
  const one = await token();
  const second = await rotate();
  t.equal(await revoke(kidOf(one)), 200, "one that signs no more");
  t.same(await kids(), [second]);
  t.notOk(await verified(one));
  const two = await token();
  t.equal(await revoke(second), 200, "the one that signs");
  const [third] = await kids();
  t.not(third, second);
  t.notOk(await verified(two));
  t.equal(kidOf(await token()), third);
  t.equal(await revoke(second), 404);
  t.match((await get(`/admin/keys/${second}`, { method: "DELETE" })).json, { code: "SIGNING_KEY_NOT_FOUND" });
});

t.test("only administrators see, rotate and revoke keys, which are bounded in number", async (t) => {
  const { call, get, addUser, kids, rotate, clock } = await open(t);
  const anna = await addUser("anna");
  for (const [method, path] of [
    ["GET", "/admin/keys"],
    ["POST", "/admin/keys/rotate"],
    ["DELETE", `/admin/keys/${(await kids())[0]}`],
  ] as const) {
    t.equal((await call(path, { method, headers: { authorization: anna.token } })).status, 403, path);
    t.equal((await call(path, { method })).status, 401, path);
  }
  while ((await kids()).length < 10) {
    await clock.advance(1_000);
    await rotate();
  }
  t.match((await get("/admin/keys/rotate", { method: "POST" })).json, { code: "REQUEST_INVALID" });
  const shown = (await get("/admin/keys")).json as unknown as { kid: string; signs: boolean; publishedUntil: string | null }[];
  t.same(
    shown.map(({ kid }) => kid),
    await kids(),
  );
  t.same(
    shown.map(({ signs, publishedUntil }) => [signs, publishedUntil === null]),
    shown.map((_, at) => [at === 0, at === 0]),
  );
  await clock.advance(31 * MINUTE);
  t.ok(await rotate(), "another key fits again");
  t.equal((await kids()).length, 2);
});

t.test("a hundred first tokens make one key", async (t) => {
  const { token, kids, kidOf } = await open(t);
  const tokens = await Promise.all(Array.from({ length: 100 }, token));
  t.equal(new Set(tokens.map(kidOf)).size, 1);
  t.equal((await kids()).length, 1);
});

t.test("the private part is sealed, and outlives restarts and a rotation of what seals it", async (t) => {
  const { folder, store, clock, token, kids, kidOf } = await open(t);
  const kid = kidOf(await token());
  const bytes = ["berth.db", "berth.db-wal"].map((file) => readFileSync(join(folder, file), "latin1")).join("");
  t.ok(bytes.includes(kid));
  t.notMatch(bytes, /PRIVATE KEY/);
  const again = async () => {
    const vault = await openVault({ store, keyFile: openKeyFile(folder), given: [], log });
    return { vault, keys: createSigningKeys({ store, vault, clock, log }) };
  };
  t.equal((await (await again()).keys.signer()).kid, kid);
  await (await again()).vault.rotate();
  t.equal((await (await again()).keys.signer()).kid, kid, "sealed anew");
  rmSync(join(folder, "credentials.key"));
  const { kid: next } = await (await again()).keys.signer();
  t.not(next, kid, "one that cannot be opened is replaced");
  t.same(await kids(), [next, kid], "and what it signed is still good");
});
