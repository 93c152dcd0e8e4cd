import { randomUUID } from "node:crypto";
import t, { type Test } from "tap";
import { clockFrom } from "../../../lib/clock.ts";
import { tokenDigest } from "../../../control/identity/sessions.ts";
import { MOST_SESSIONS_OF_KEY, createIdentity } from "../../../control/identity/open-identity.ts";
import { openStore } from "../../../control/store/open-store.ts";
import { newContainer, newImage } from "../lifecycle/lifecycle-fixture.ts";

async function open(t: Test) {
  let now = 1_000_000;
  const clock = clockFrom({ now: () => now, monotonic: () => now, after: () => () => {} });
  const store = await openStore({ folder: t.testdir({}), clock });
  t.teardown(() => store.close());
  return { store, identity: createIdentity({ store, clock }), advance: (ms: number) => void (now += ms) };
}

t.test("the first user is made once, however often berth starts", async (t) => {
  const { store, identity } = await open(t);
  const admin = await identity.ensureAdmin("key");
  t.match(admin, { login: "admin", admin: true });
  t.same(await identity.ensureAdmin("key"), admin);
  t.equal((await store.users.all()).length, 1);
  t.same(await identity.userOfDevKey("key"), admin);
});

t.test("another key in the settings ends the one before it, and no other user's", async (t) => {
  const { store, identity } = await open(t);
  const admin = await identity.ensureAdmin("old");
  const other = await store.users.insert({ id: randomUUID(), login: "anna", friendlyName: "Anna", admin: false, createdOn: 0 });
  await store.devKeys.insert({ digest: tokenDigest("annas"), userId: other.id, id: "1", label: "", createdOn: 0, fromSetting: false });
  await identity.ensureAdmin("new");
  await t.rejects(() => identity.userOfDevKey("old"), { code: "DEV_KEY_INVALID" });
  t.equal((await identity.userOfDevKey("new")).id, admin.id);
  t.equal((await identity.userOfDevKey("annas")).id, other.id);
});

t.test("a key that was made outlives the one in the settings, and each session its own key alone", async (t) => {
  const { store, identity } = await open(t);
  const admin = await identity.ensureAdmin("old");
  const { key, kept } = await identity.users.addKey("admin", "laptop");
  const [bySetting, byMade, byNone] = [await identity.signIn("old"), await identity.signIn(key), await identity.openSession(admin.id)];
  await identity.ensureAdmin("new");
  await t.rejects(() => identity.signIn("old"), { code: "DEV_KEY_INVALID" });
  t.same(await Promise.all([bySetting, byMade, byNone].map(async (token) => (await identity.who(token))?.login)), [undefined, "admin", "admin"]);
  await identity.users.revokeKey("admin", kept.id);
  t.same(await Promise.all([byMade, byNone].map(async (token) => (await identity.who(token))?.login)), [undefined, "admin"]);
  t.equal((await store.devKeys.byUser(admin.id)).length, 1);
  await identity.users.add("anna", {});
  const annas = (await identity.users.addKey("anna", "")).key;
  t.equal((await identity.ensureAdmin(annas)).id, admin.id);
  t.equal((await identity.userOfDevKey(annas)).id, admin.id, "the settings say whose a key is");
});

t.test("how long a session lasts is a setting", async (t) => {
  let now = 0;
  const clock = clockFrom({ now: () => now, monotonic: () => now, after: () => () => {} });
  const store = await openStore({ folder: t.testdir({}), clock });
  t.teardown(() => store.close());
  const identity = createIdentity({ store, clock, sessionMs: 500 });
  const { id } = await identity.ensureAdmin("key");
  const tokens = [await identity.openSession(id), await identity.signIn("key")];
  now = 499;
  for (const token of tokens) t.ok(await identity.who(token));
  now = 500;
  for (const token of tokens) t.notOk(await identity.who(token));
});

t.test("a session says who holds it until it ends or is ended", async (t) => {
  const { identity, store, advance } = await open(t);
  const { id } = await identity.ensureAdmin("key");
  const token = await identity.openSession(id, 1_000);
  t.match(await identity.who(token), { userId: id, login: "admin", admin: false });
  advance(999);
  t.ok(await identity.who(token));
  advance(1);
  t.equal(await identity.who(token), undefined, "it has ended");

  const other = await identity.openSession(id);
  t.equal((await store.sessions.byUser(id)).length, 1, "ended ones are swept away");
  await identity.endSession(other);
  await identity.endSession(other);
  t.equal(await identity.who(other), undefined, "it was ended");
});

t.test("a session has administration only where it was requested, and what is derived of one never", async (t) => {
  const { identity } = await open(t);
  const { id } = await identity.ensureAdmin("key");
  const [plain, administration, fromConsole] = [
    await identity.signIn("key"),
    await identity.signIn("key", "administration"),
    await identity.signIn("key", "console"),
  ];
  t.match(await identity.who(plain), { login: "admin", admin: false });
  t.match(await identity.who(administration), { login: "admin", admin: true });
  t.equal(await identity.who(fromConsole), undefined, "the console's is good at the console alone");
  t.match(await identity.who(fromConsole, "console"), { login: "admin", admin: true });
  t.notOk((await identity.who(fromConsole, "console"))?.derivedToken, "and nothing of it goes to containers");
  t.match(await identity.who(await identity.openSessionFrom(fromConsole)), { userId: id, admin: false }, "what comes from it is a plain session");
  t.same(await Promise.all([plain, administration, fromConsole].map((token) => identity.isOfTool(token))), [false, true, false]);
  t.ok(await identity.isOfTool(fromConsole, "console"));
  for (const token of [plain, administration]) {
    const { derivedToken = "" } = (await identity.who(token)) ?? {};
    t.not(derivedToken, token);
    t.notOk(await identity.isOfTool(derivedToken), "a container that has it opens no shell");
    t.match(
      await identity.who(derivedToken),
      { userId: id, login: "admin", admin: false, derivedToken },
      "of a derived token the derived one is itself",
    );
    t.equal((await identity.who(token))?.derivedToken, derivedToken, "every gateway gets the same one");
    await identity.endSession(token);
    t.equal(await identity.who(derivedToken), undefined, "it ends with its session");
  }
});

t.test("a session that began before derived tokens were kept has one, too", async (t) => {
  const { identity, store } = await open(t);
  const token = await identity.openSession((await identity.ensureAdmin("key")).id);
  const [session] = await store.sessions.byUser((await store.users.byLogin("admin"))?.id ?? "");
  await store.sessions.remove(session?.digest ?? "");
  await store.sessions.insert({
    digest: session?.digest ?? "",
    userId: session?.userId ?? "",
    expiresOn: session?.expiresOn ?? 0,
    keyDigest: undefined,
  });
  const { derivedToken = "" } = (await identity.who(token)) ?? {};
  t.match(await identity.who(derivedToken), { login: "admin", admin: false });
});

t.test("who ends a session ends those that came from it", async (t) => {
  const { identity } = await open(t);
  await identity.ensureAdmin("key");
  const fromConsole = await identity.signIn("key", "console");
  const handed = await identity.openSessionFrom(fromConsole);
  await identity.endSession(fromConsole);
  t.equal(await identity.who(handed), undefined);
  await t.rejects(() => identity.openSessionFrom(fromConsole), { code: "TOKEN_INVALID" });
});

t.test("tokens are long, differ, and are not in the store", async (t) => {
  const { identity, store } = await open(t);
  const { id } = await identity.ensureAdmin("the-dev-key");
  const tokens = [await identity.openSession(id), await identity.openSession(id)];
  t.not(tokens[0], tokens[1]);
  for (const token of tokens) t.equal(Buffer.from(token, "base64url").length, 32);
  const stored = JSON.stringify([await store.sessions.byUser(id), await store.devKeys.byUser(id), await store.users.all()]);
  for (const secret of [...tokens, "the-dev-key"]) t.notOk(stored.includes(secret));
});

t.test("a removed user loses access at once", async (t) => {
  const { identity, store } = await open(t);
  const user = await identity.ensureAdmin("key");
  const token = await identity.openSession(user.id);
  await store.users.remove(user.id);
  t.equal(await identity.who(token), undefined);
  await t.rejects(() => identity.userOfDevKey("key"), { code: "DEV_KEY_INVALID" });
});

t.test("an unknown token has no user", async (t) => {
  const { identity } = await open(t);
  await identity.ensureAdmin("key");
  for (const token of ["", "x", "key", "x".repeat(1_000_000)]) t.equal(await identity.who(token), undefined);
});

t.test("too many sign-ins end the oldest sessions of that key, and no others", async (t) => {
  const { store, identity } = await open(t);
  const admin = await identity.ensureAdmin("key");
  const { key } = await identity.users.addKey("admin", "laptop");
  const others = [await identity.signIn(key), await identity.openSession(admin.id), await identity.signIn("key", "console")];
  const image = newImage("web", 1);
  await store.packages.insert({ id: image.packageId, name: "demo", version: "1.0.0", authorId: admin.id, createdOn: 1, updatedOn: 1 });
  await store.images.insert(image);
  const { id } = await store.containers.insert(newContainer(image, { cpu: 1, memoryMb: 64, gpu: 0, shmMb: 1, storageGb: 1, onDemand: true }, 1));
  const ofContainer = { digest: "of a container", userId: admin.id, expiresOn: Number.MAX_SAFE_INTEGER, containerId: id };
  await store.sessions.insert({ ...ofContainer, keyDigest: tokenDigest("key") });
  const tokens = await store.transaction(() => Promise.all(Array.from({ length: MOST_SESSIONS_OF_KEY + 2 }, () => identity.signIn("key"))));
  t.same(
    await Promise.all(tokens.map(async (token) => (await identity.who(token)) !== undefined)),
    tokens.map((_, index) => index >= 2),
  );
  for (const token of others) t.ok(await identity.who(token, "console"));
});
