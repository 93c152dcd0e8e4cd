import { randomUUID } from "node:crypto";
import t, { type Test } from "tap";
import { clockFrom } from "../../../lib/clock.ts";
import { tokenDigest } from "../../../control/identity/tokens.ts";
import { MOST_SESSIONS_OF_KEY, createIdentity } from "../../../control/identity/open-identity.ts";
import { openStore } from "../../../control/store/open-store.ts";

function open(t: Test) {
  let now = 1_000_000;
  const clock = clockFrom({ now: () => now, monotonic: () => now, after: () => () => {} });
  const store = openStore({ folder: t.testdir({}), clock });
  t.teardown(() => store.close());
  return { store, identity: createIdentity({ store, clock }), advance: (ms: number) => void (now += ms) };
}

t.test("the first user is made once, however often berth starts", async (t) => {
  const { store, identity } = open(t);
  const admin = identity.ensureAdmin("key");
  t.match(admin, { login: "admin", admin: true });
  t.same(identity.ensureAdmin("key"), admin);
  t.equal(store.users.all().length, 1);
  t.same(identity.userOfDevKey("key"), admin);
});

t.test("another key in the settings ends the one before it, and no other user's", async (t) => {
  const { store, identity } = open(t);
  const admin = identity.ensureAdmin("old");
  const other = store.users.insert({ id: randomUUID(), login: "anna", friendlyName: "Anna", admin: false, createdOn: 0 });
  store.devKeys.insert({ digest: tokenDigest("annas"), userId: other.id, id: "1", label: "", createdOn: 0, fromSetting: false });
  identity.ensureAdmin("new");
  t.throws(() => identity.userOfDevKey("old"), { code: "DEV_KEY_INVALID" });
  t.equal(identity.userOfDevKey("new").id, admin.id);
  t.equal(identity.userOfDevKey("annas").id, other.id);
});

t.test("a key that was made outlives the one in the settings, and each session its own key alone", async (t) => {
  const { store, identity } = open(t);
  const admin = identity.ensureAdmin("old");
  const { key, kept } = identity.users.addKey("admin", "laptop");
  const [bySetting, byMade, byNone] = [identity.signIn("old"), identity.signIn(key), identity.openSession(admin.id)];
  identity.ensureAdmin("new");
  t.throws(() => identity.signIn("old"), { code: "DEV_KEY_INVALID" });
  t.same(
    [bySetting, byMade, byNone].map((token) => identity.who(token)?.login),
    [undefined, "admin", "admin"],
  );
  identity.users.revokeKey("admin", kept.id);
  t.same(
    [byMade, byNone].map((token) => identity.who(token)?.login),
    [undefined, "admin"],
  );
  t.equal(store.devKeys.byUser(admin.id).length, 1);
  identity.users.add("anna", {});
  const annas = identity.users.addKey("anna", "").key;
  t.equal(identity.ensureAdmin(annas).id, admin.id);
  t.equal(identity.userOfDevKey(annas).id, admin.id, "the settings say whose a key is");
});

t.test("how long a session lasts is a setting", async (t) => {
  let now = 0;
  const clock = clockFrom({ now: () => now, monotonic: () => now, after: () => () => {} });
  const store = openStore({ folder: t.testdir({}), clock });
  t.teardown(() => store.close());
  const identity = createIdentity({ store, clock, sessionMs: 500 });
  const { id } = identity.ensureAdmin("key");
  const tokens = [identity.openSession(id), identity.signIn("key")];
  now = 499;
  t.ok(tokens.every((token) => identity.who(token)));
  now = 500;
  t.notOk(tokens.some((token) => identity.who(token)));
});

t.test("a session says who holds it until it ends or is ended", async (t) => {
  const { identity, store, advance } = open(t);
  const { id } = identity.ensureAdmin("key");
  const token = identity.openSession(id, 1_000);
  t.match(identity.who(token), { userId: id, login: "admin", admin: false });
  advance(999);
  t.ok(identity.who(token));
  advance(1);
  t.equal(identity.who(token), undefined, "it has ended");

  const other = identity.openSession(id);
  t.equal(store.sessions.byUser(id).length, 1, "ended ones are swept away");
  identity.endSession(other);
  identity.endSession(other);
  t.equal(identity.who(other), undefined, "it was ended");
});

t.test("a session has administration only where it was requested, and what is derived of one never", async (t) => {
  const { identity } = open(t);
  const { id } = identity.ensureAdmin("key");
  const [plain, administration, fromConsole] = [identity.signIn("key"), identity.signIn("key", "administration"), identity.signIn("key", "console")];
  t.match(identity.who(plain), { login: "admin", admin: false });
  t.match(identity.who(administration), { login: "admin", admin: true });
  t.equal(identity.who(fromConsole), undefined, "the console's is good at the console alone");
  t.match(identity.who(fromConsole, "console"), { login: "admin", admin: true });
  t.notOk(identity.who(fromConsole, "console")?.derivedToken, "and nothing of it goes to containers");
  t.match(identity.who(identity.openSessionFrom(fromConsole)), { userId: id, admin: false }, "what comes from it is a plain session");
  for (const token of [plain, administration]) {
    const { derivedToken = "" } = identity.who(token) ?? {};
    t.not(derivedToken, token);
    t.match(identity.who(derivedToken), { userId: id, login: "admin", admin: false, derivedToken }, "of a derived token the derived one is itself");
    t.equal(identity.who(token)?.derivedToken, derivedToken, "every gateway gets the same one");
    identity.endSession(token);
    t.equal(identity.who(derivedToken), undefined, "it ends with its session");
  }
});

t.test("a session that began before derived tokens were kept has one, too", async (t) => {
  const { identity, store } = open(t);
  const token = identity.openSession(identity.ensureAdmin("key").id);
  const [session] = store.sessions.byUser(store.users.byLogin("admin")?.id ?? "");
  store.sessions.remove(session?.digest ?? "");
  store.sessions.insert({ digest: session?.digest ?? "", userId: session?.userId ?? "", expiresOn: session?.expiresOn ?? 0, keyDigest: undefined });
  const { derivedToken = "" } = identity.who(token) ?? {};
  t.match(identity.who(derivedToken), { login: "admin", admin: false });
});

t.test("who ends a session ends those that came from it", async (t) => {
  const { identity } = open(t);
  identity.ensureAdmin("key");
  const fromConsole = identity.signIn("key", "console");
  const handed = identity.openSessionFrom(fromConsole);
  identity.endSession(fromConsole);
  t.equal(identity.who(handed), undefined);
  t.throws(() => identity.openSessionFrom(fromConsole), { code: "TOKEN_INVALID" });
});

t.test("tokens are long, differ, and are not in the store", async (t) => {
  const { identity, store } = open(t);
  const { id } = identity.ensureAdmin("the-dev-key");
  const tokens = [identity.openSession(id), identity.openSession(id)];
  t.not(tokens[0], tokens[1]);
  for (const token of tokens) t.equal(Buffer.from(token, "base64url").length, 32);
  const stored = JSON.stringify([store.sessions.byUser(id), store.devKeys.byUser(id), store.users.all()]);
  for (const secret of [...tokens, "the-dev-key"]) t.notOk(stored.includes(secret));
});

t.test("a user who is removed is nobody at once", async (t) => {
  const { identity, store } = open(t);
  const user = identity.ensureAdmin("key");
  const token = identity.openSession(user.id);
  store.users.remove(user.id);
  t.equal(identity.who(token), undefined);
  t.throws(() => identity.userOfDevKey("key"), { code: "DEV_KEY_INVALID" });
});

t.test("what nobody holds is nobody", async (t) => {
  const { identity } = open(t);
  identity.ensureAdmin("key");
  for (const token of ["", "x", "key", "x".repeat(1_000_000)]) t.equal(identity.who(token), undefined);
});

t.test("who signs in without end ends the oldest sessions of that key, and nobody else's", async (t) => {
  const { store, identity } = open(t);
  const admin = identity.ensureAdmin("key");
  const { key } = identity.users.addKey("admin", "laptop");
  const others = [identity.signIn(key), identity.openSession(admin.id)];
  const tokens = store.transaction(() => Array.from({ length: MOST_SESSIONS_OF_KEY + 2 }, () => identity.signIn("key")));
  t.same(
    tokens.map((token) => identity.who(token) !== undefined),
    tokens.map((_, index) => index >= 2),
  );
  for (const token of others) t.ok(identity.who(token));
});
