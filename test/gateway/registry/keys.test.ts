import { systemClock } from "../../../lib/clock.ts";
import { createServer } from "node:http";
import { exportJWK, exportSPKI } from "jose";
import t from "tap";
import { controlIdentity } from "../../../gateway/api-backend.ts";
import { localControl } from "../../../gateway/feed/control-client.ts";
import { createTrustedProxies } from "../../../gateway/trusted-proxies.ts";
import { createStillClock } from "../../fixtures/clock.ts";
import { datagrokKeys } from "../../../lib/jwks/signers.ts";
import { openRecorder, openStand, type RegistryFixture } from "./stand.ts";
import { eventually } from "../../fixtures/eventually.ts";
import { listen } from "../../fixtures/server.ts";

const MINUTE_MS = 60_000;

/** Whether a client with this token may push. */
async function pushes({ call }: RegistryFixture, token: string): Promise<boolean> {
  const answer = await call("/v2/a/blobs/uploads/", { method: "POST", headers: { authorization: `Bearer ${token}` } });
  return answer.status === 200;
}

t.test("keys are taken in every form in which servers publish them", async (t) => {
  const registry = await openRecorder(t);
  const forms: Record<string, NonNullable<RegistryFixture["tokens"]["publish"]>> = {
    "a single JWK": async ([signer]) => JSON.stringify({ ...(await exportJWK(signer!.publicKey)), kid: signer!.kid }),
    "a single JWK without an id": async ([signer]) => JSON.stringify(await exportJWK(signer!.publicKey)),
    "PEMs by their ids": async ([signer]) => JSON.stringify({ other: "-----BEGIN nonsense", [signer!.kid]: await exportSPKI(signer!.publicKey) }),
    "a bare PEM": async ([signer]) => `${await exportSPKI(signer!.publicKey)}\n`,
    "a PEM in quotes": async ([signer]) => JSON.stringify(await exportSPKI(signer!.publicKey)),
  };
  for (const [name, publish] of Object.entries(forms)) {
    const stand = await openStand(t, registry);
    stand.tokens.publish = publish;
    t.ok(await pushes(stand, await stand.tokens.sign()), name);
    const foreign = await openStand(t, registry);
    t.notOk(await pushes(stand, await foreign.tokens.sign({ iss: stand.tokens.issuer })), `${name}, and no other`);
  }
});

t.test("a key for something else, a short one, and an error page are no keys", async (t) => {
  const registry = await openRecorder(t);
  for (const publish of [
    async ([signer]: { publicKey: CryptoKey }[]) => JSON.stringify({ keys: [{ ...(await exportJWK(signer!.publicKey)), use: "enc", kid: "first" }] }),
    async () => JSON.stringify({ keys: [{ kty: "oct", k: "c2VjcmV0", kid: "first" }] }),
  ]) {
    const stand = await openStand(t, registry);
    stand.tokens.publish = publish;
    t.notOk(await pushes(stand, await stand.tokens.sign()));
  }
  const stand = await openStand(t, registry);
  stand.tokens.publish = async () => "<html>Bad gateway</html>";
  const answer = await stand.call("/v2/", { headers: { authorization: `Bearer ${await stand.tokens.sign()}` } });
  t.equal(answer.status, 503);
  t.ok(answer.headers.has("retry-after"));
});

t.test("a new key is found by the first token that it signed, and old tokens stay good", async (t) => {
  const stand = await openStand(t, await openRecorder(t));
  const old = await stand.tokens.sign();
  t.ok(await pushes(stand, old));
  await stand.tokens.rotate("second");
  t.ok(await pushes(stand, await stand.tokens.sign()));
  t.ok(await pushes(stand, old));
  t.equal(stand.tokens.keyRequests, 2);
});

t.test("however many unknown keys arrive, the server gets one request in half a minute", async (t) => {
  const clock = createStillClock(Date.now());
  const stand = await openStand(t, await openRecorder(t), { clock });
  t.ok(await pushes(stand, await stand.tokens.sign()));
  const forge = () => Promise.all(Array.from({ length: 200 }, async (_, n) => pushes(stand, await stand.tokens.sign({}, { kid: `forged ${n}` }))));
  t.notOk((await forge()).some(Boolean));
  t.equal(stand.tokens.keyRequests, 2);
  await clock.advance(29_000);
  await forge();
  t.equal(stand.tokens.keyRequests, 2);
  await clock.advance(2_000);
  await forge();
  t.equal(stand.tokens.keyRequests, 3);
});

t.test("a new key of a server that failed is found once the pause after its failure is over", async (t) => {
  const clock = createStillClock(Date.now());
  const stand = await openStand(t, await openRecorder(t), { clock });
  t.ok(await pushes(stand, await stand.tokens.sign()));
  await stand.tokens.rotate("second");
  const token = await stand.tokens.sign();
  stand.tokens.publish = async () => "<html>Bad gateway</html>";
  t.notOk(await pushes(stand, token));
  t.notOk(await pushes(stand, token));
  t.equal(stand.tokens.keyRequests, 2, "unknown ids respect the pause");
  stand.tokens.publish = undefined;
  await clock.advance(1_000);
  t.ok(await pushes(stand, token));
});

t.test("a key that a Datagrok server no longer publishes is used for a token's lifetime, and no longer", async (t) => {
  const clock = createStillClock(Date.now());
  const stand = await openStand(t, await openRecorder(t), { clock });
  const old = await stand.tokens.sign({ exp: Math.floor(Date.now() / 1_000) + 86_400 });
  t.ok(await pushes(stand, old));
  await stand.tokens.rotate("second", false);
  t.ok(await pushes(stand, await stand.tokens.sign()));
  await clock.advance(29 * MINUTE_MS);
  t.ok(await pushes(stand, old));
  await clock.advance(12 * MINUTE_MS);
  t.notOk(await pushes(stand, old));
});

t.test("a key that control takes back counts no more within a minute, also for tokens that are remembered", async (t) => {
  const { keys, close } = controlIdentity(
    localControl({ feedSocket: "/nowhere", apiSocket: "/nowhere" }),
    createTrustedProxies([]),
    createStillClock(),
  );
  t.teardown(close);
  const clock = createStillClock(Date.now());
  const stand = await openStand(t, await openRecorder(t), { clock, keys });
  const token = await stand.tokens.sign();
  t.ok(await pushes(stand, token));
  t.ok(await pushes(stand, token));
  await stand.tokens.rotate("second", false);
  await clock.advance(MINUTE_MS);
  t.notOk(await pushes(stand, token), "nor lets it one more in");
});

t.test("a server of keys that hangs holds a request up for two seconds, and no other until it has answered", async (t) => {
  const clock = createStillClock(Date.now());
  const stand = await openStand(t, await openRecorder(t), { clock });
  const token = await stand.tokens.sign();
  t.ok(await pushes(stand, token));
  const { promise: hanging, resolve: letGo } = Promise.withResolvers<string>();
  t.teardown(() => letGo(""));
  stand.tokens.publish = () => hanging;
  await clock.advance(20 * MINUTE_MS);
  const [first, second] = [pushes(stand, token), pushes(stand, token)];
  await eventually("the keys are requested again", async () => stand.tokens.keyRequests === 2);
  await clock.advance(2_000);
  t.ok((await first) && (await second) && (await pushes(stand, token)));
  t.equal(stand.tokens.keyRequests, 2);
});

t.test("while the JWKS server is away, reads go on, known keys count, and other clients have to retry", async (t) => {
  const clock = createStillClock(Date.now());
  const registry = await openRecorder(t);
  const stand = await openStand(t, registry, { clock });
  const token = await stand.tokens.sign();
  stand.tokens.away = true;
  t.equal((await stand.call("/v2/a/manifests/1")).status, 200);
  t.equal((await stand.call("/v2/")).status, 401);
  const early = await stand.call("/v2/", { headers: { authorization: `Bearer ${token}` } });
  t.equal(early.status, 503);
  t.match(await early.json(), { errors: [{ code: "UNAVAILABLE" }] });
  stand.tokens.away = false;
  await clock.advance(1_000);
  t.ok(await pushes(stand, token));
  stand.tokens.away = true;
  await clock.advance(20 * MINUTE_MS);
  t.ok(await pushes(stand, await stand.tokens.sign()));
  const login = await stand.call("/token", { headers: { authorization: "Basic YW55OmtleQ==" } });
  t.ok([502, 503].includes(login.status));
  t.match(await login.json(), { errors: [{ code: "UNAVAILABLE" }] });
});

t.test("clocks that differ by less than a minute do no harm", async (t) => {
  const stand = await openStand(t, await openRecorder(t));
  const now = Math.floor(Date.now() / 1_000);
  t.ok(await pushes(stand, await stand.tokens.sign({ nbf: now + 50, iat: now + 50 })));
  t.notOk(await pushes(stand, await stand.tokens.sign({ nbf: now + 70 })));
  t.ok(await pushes(stand, await stand.tokens.sign({ exp: now - 50 })));
  t.notOk(await pushes(stand, await stand.tokens.sign({ exp: now - 70 })));
});

t.test("a token that is remembered ends when it says", async (t) => {
  const clock = createStillClock(Date.now());
  const stand = await openStand(t, await openRecorder(t), { clock });
  const token = await stand.tokens.sign({ exp: Math.floor(Date.now() / 1_000) + 10 });
  t.ok(await pushes(stand, token));
  t.ok(await pushes(stand, token));
  await clock.advance(72_000);
  t.notOk(await pushes(stand, token));
});

t.test("a configured issuer is not looked up", async (t) => {
  const stand = await openStand(t, await openRecorder(t), { issuer: "https://stand.example/" });
  t.ok(await pushes(stand, await stand.tokens.sign({ iss: "https://stand.example" })));
  t.notOk(await pushes(stand, await stand.tokens.sign()));
  t.notOk(stand.tokens.requests.includes("/api/admin/startup_data"));
});

t.test("a server of keys that sends a byte now and then is given up all the same", async (t) => {
  const dripping = createServer((_, response) => {
    const timer = setInterval(() => response.write(" "), 20);
    response.on("close", () => clearInterval(timer));
  });
  const { port } = await listen(t, dripping);
  const server = datagrokKeys(`http://127.0.0.1:${port}/api`, systemClock(), 200);
  await t.rejects(server.get("/api/docker/keys"), { code: "TOKEN_KEYS_UNKNOWN" });
  server.close();
});
