import t from "tap";
import { createIdentity } from "../../../control/identity/open-identity.ts";
import { createTokenRevocations } from "../../../control/identity/revoked-tokens.ts";
import { tokenDigest } from "../../../control/identity/sessions.ts";
import { sessionId } from "../../../control/identity/user-sessions.ts";
import type { User } from "../../../control/model/entities.ts";
import { openStore } from "../../../control/store/open-store.ts";
import { createRevokedGrants } from "../../../gateway/registry/verify-token.ts";
import { createStillClock } from "../../fixtures/clock.ts";

const NOW = 1_800_000_000;

t.test("the tokens of a user who is blocked or removed, or who loses rights, are revoked for as long as they would count", async (t) => {
  const clock = createStillClock(NOW * 1_000);
  const store = await openStore({ folder: t.testdir({}), clock });
  t.teardown(() => store.close());
  const { users, revokedTokens, ensureAdmin } = createIdentity({ store, clock });
  const admin = await ensureAdmin("admins-key");
  for (const login of ["anna", "max", "eve", "zoe"]) await users.add(login, { groups: ["lab"] });
  t.same(await revokedTokens.all(), []);
  await users.block("anna", admin);
  await users.leaveGroup("max", "lab");
  await users.remove("eve", admin);
  await users.change("zoe", { friendlyName: "Zoe" });
  const until = NOW;
  t.same(
    await revokedTokens.all(),
    ["anna", "max", "eve"].map((login) => ({ login, until })),
  );
  await users.unblock("anna");
  t.equal((await revokedTokens.all()).length, 3, "those from before the block stay so");

  await users.block("anna", admin);
  const restarted = createIdentity({ store, clock });
  t.same(await restarted.revokedTokens.all(), [{ login: "anna", until }]);
  await clock.advance(1_801_000);
  t.same(await revokedTokens.all(), []);
  t.same(await restarted.revokedTokens.all(), []);
});

t.test("the tokens of a user whose sessions are ended are revoked, since they may come from those", async (t) => {
  const clock = createStillClock(NOW * 1_000);
  const store = await openStore({ folder: t.testdir({}), clock });
  t.teardown(() => store.close());
  const { users, sessions, revokedTokens, openSession } = createIdentity({ store, clock });
  const ends: Record<string, (user: User, digest: string) => Promise<unknown>> = {
    anna: (user, digest) => sessions.end(user.id, sessionId({ digest })),
    max: (user) => sessions.endAll(user.id, undefined),
    eve: (_user, digest) => sessions.endDigests([digest]),
    zoe: () => users.link("zoe", { issuer: "https://id.example", subject: "another" }),
  };
  for (const [login, end] of Object.entries(ends)) {
    const { user } = await users.add(login, {});
    await users.link(login, { issuer: "https://id.example", subject: login });
    const token = await openSession(user.id);
    t.same(await revokedTokens.all(), [], login);
    await end(user, tokenDigest(token));
    t.same(await revokedTokens.all(), [{ login, until: clock.now() / 1_000 }], login);
    await clock.advance(1_801_000);
  }
});

t.test("no token is issued in the second of a revocation, in which it would not count", async (t) => {
  const clock = createStillClock(NOW * 1_000 + 200);
  const revocations = createTokenRevocations({ store: { users: { blockedSince: async () => [] } as never }, clock });
  revocations.add("anna");
  const since = clock.now();
  t.same([revocations.retryMs("anna", since), revocations.retryMs("max", since)], [800, undefined]);
  await clock.advance(800);
  t.equal(revocations.retryMs("anna", since), 0, "the rights may have been read before the revocation");
  t.equal(revocations.retryMs("anna", clock.now()), undefined);
  const hourBefore = clock.now() - 3_600_000;
  const setBack = createTokenRevocations({ store: { users: { blockedSince: async () => [] } as never }, clock: { now: () => now } });
  let now = clock.now();
  setBack.add("anna");
  now = hourBefore;
  t.equal(setBack.retryMs("anna", now), 1_000, "no request waits until the clock is there again");
  const revoked = createRevokedGrants();
  revoked.replace(await revocations.all());
  t.notOk(revoked.has({ subject: "anna", access: undefined, issuedAt: NOW + 1 }));
});

t.test("of very many users, the tokens of all are revoked", async (t) => {
  const clock = createStillClock(NOW * 1_000);
  const revocations = createTokenRevocations({ store: { users: { blockedSince: async () => [] } as never }, clock });
  for (let nth = 0; nth <= 1_000; nth++) revocations.add(`user${nth}`);
  const revoked = createRevokedGrants();
  revoked.replace(await revocations.all());
  const grant = { access: undefined, issuedAt: NOW };
  t.ok(revoked.has({ ...grant, subject: "user1" }));
  t.ok(revoked.has({ ...grant, subject: "any" }));
  t.notOk(revoked.has({ ...grant, subject: "user1", issuedAt: NOW + 1 }));
  await clock.advance(1_801_000);
  revoked.replace(await revocations.all());
  t.notOk(revoked.has({ ...grant, subject: "any" }));
});
