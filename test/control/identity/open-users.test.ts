import t, { type Test } from "tap";
import { type Clock, systemClock } from "../../../lib/clock.ts";
import { mayManageAuthor } from "../../../control/identity/rights.ts";
import { createIdentity } from "../../../control/identity/open-identity.ts";
import type { Container, Image } from "../../../control/model/entities.ts";
import { openStore, type Store } from "../../../control/store/open-store.ts";
import { createStillClock } from "../../fixtures/clock.ts";
import { newContainer, newImage } from "../lifecycle/lifecycle-fixture.ts";

async function open(t: Test, clock: Clock = systemClock()) {
  const store = await openStore({ folder: t.testdir({}), clock });
  t.teardown(() => store.close());
  const identity = createIdentity({ store, clock });
  return { store, identity, users: identity.users, admin: await identity.ensureAdmin("admins-key") };
}

/** A container that a user has started. */
async function openStartedContainer(store: Store, image: Image, requestedBy: string): Promise<Container> {
  await store.images.insert(image);
  const config = { cpu: 1, memoryMb: 64, gpu: 0, shmMb: 1, storageGb: 1, onDemand: true };
  return store.containers.insert({ ...newContainer(image, config, 1), requestedBy, requestedOn: 1, state: "STARTED" });
}

t.test("who shares a group with an author may do what the author may", async (t) => {
  const { store, users, admin } = await open(t);
  const rows: [login: string, groups: string[], may: boolean][] = [
    ["author", ["lab", "chess"], true],
    ["colleague", ["lab"], true],
    ["player", ["x", "chess"], true],
    ["unknown", ["x"], false],
    ["loner", [], false],
  ];
  for (const [login, groups] of rows) await users.add(login, { groups });
  const author = (await store.users.byLogin("author"))?.id ?? "";
  for (const [login, , may] of rows)
    t.equal(await mayManageAuthor(store, { userId: (await store.users.byLogin(login))?.id ?? "", admin: false }, author), may, login);
  t.ok(await mayManageAuthor(store, { userId: admin.id, admin: true }, author), "an administrator may everything");
  await users.change("colleague", { groups: ["x"] });
  t.notOk(
    await mayManageAuthor(store, { userId: (await store.users.byLogin("colleague"))?.id ?? "", admin: false }, author),
    "out of the group, out of the rights",
  );
  t.same((await users.all()).map(({ user, groups }) => [user.login, groups]).at(2), ["colleague", ["x"]]);
});

t.test("a login is short, plain, and one person's", async (t) => {
  const { users } = await open(t);
  await users.add("Anna.M-1", {});
  for (const taken of ["Anna.M-1", "anna.m-1", "ADMIN"]) await t.rejects(() => users.add(taken, {}), { code: "LOGIN_TAKEN" }, taken);
  for (const login of ["", " ", "a b", "-a", "a/b", "a@b", "ä", "x".repeat(64), "current", "Login", "logout"]) {
    await t.rejects(() => users.add(login, {}), { code: "REQUEST_INVALID" }, login);
  }
});

t.test("who is removed leaves packages to the one who removed, and no session behind", async (t) => {
  const { store, users, identity, admin } = await open(t);
  const { user } = await users.add("anna", { groups: ["lab"] });
  const { key } = await users.addKey("anna", "");
  const token = await identity.signIn(key);
  const image = newImage("web", 1);
  await store.packages.insert({ id: image.packageId, name: "annas", version: "1", authorId: user.id, createdOn: 0, updatedOn: 0 });
  const { id } = await openStartedContainer(store, image, user.id);
  await store.repositories.claim({ key: "datagrok/own", name: "datagrok/own", packageId: undefined, userId: user.id, since: 1 });
  t.same(await users.remove("anna", admin), ["annas"]);
  t.equal((await store.packages.find(image.packageId))?.authorId, admin.id);
  t.match(await store.repositories.find("datagrok/own"), { userId: admin.id });
  t.equal((await store.containers.find(id))?.requestedBy, undefined, "its next start is no one's");
  t.equal(await identity.who(token), undefined);
  await t.rejects(() => identity.signIn(key), { code: "DEV_KEY_INVALID" });
  t.same(await store.groups.ofUser(user.id), []);
  for (const act of [() => users.remove("anna", admin), () => users.change("anna", {}), () => users.keys("anna"), () => users.addKey("anna", "")]) {
    await t.rejects(async () => void (await act()), { code: "USER_NOT_FOUND" });
  }
});

t.test("a blocked user has no session and no key, and after an unblock no container with a token from before", async (t) => {
  const { store, users, identity, admin } = await open(t);
  const { user } = await users.add("anna", {});
  const { key } = await users.addKey("anna", "");
  const token = await identity.signIn(key);
  const image = newImage("web", 1);
  await store.packages.insert({ id: image.packageId, name: "annas", version: "1", authorId: user.id, createdOn: 0, updatedOn: 0 });
  const { id } = await openStartedContainer(store, image, user.id);
  await users.block("anna", admin);
  await t.rejects(() => identity.signIn(key), { code: "USER_BLOCKED" });
  // As of a sign-in that was under way.
  t.equal(await identity.who(await identity.openSession(user.id)), undefined);
  await users.unblock("anna");
  t.equal(await identity.who(token), undefined);
  t.match(await identity.who(await identity.signIn(key)), { login: "anna" });
  t.equal((await store.containers.find(id))?.requestedBy, undefined);
});

t.test("there is always an administrator", async (t) => {
  const { users, admin } = await open(t);
  await t.rejects(() => users.remove("admin", admin), { code: "REQUEST_INVALID" });
  await t.rejects(() => users.change("admin", { admin: false }), { code: "REQUEST_INVALID" });
  const { user } = await users.add("second", { admin: true });
  await t.rejects(() => users.remove("second", user), { code: "REQUEST_INVALID" }, "a user cannot remove itself");
});

t.test("a change that takes rights away has all callers looked up again, and another one does not", async (t) => {
  const { users, identity } = await open(t);
  await users.add("anna", { groups: ["lab"], admin: true });
  let signOuts = 0;
  identity.watchSignOuts(() => signOuts++);
  const after: number[] = [];
  for (const change of [{ friendlyName: "Anna" }, { admin: true }, { groups: [] }, { admin: false }]) {
    await users.change("anna", change);
    after.push(signOuts);
  }
  t.same(after, [0, 0, 1, 2]);
});

t.test("a key tells when it was used last, to the hour", async (t) => {
  const clock = createStillClock();
  const { users, identity } = await open(t, clock);
  const { key, kept } = await users.addKey("admin", "laptop");
  const lastUse = async () => (await users.keys("admin")).find(({ id }) => id === kept.id)?.lastUsedOn;
  t.equal(await lastUse(), undefined, "not yet");
  await identity.userOfDevKey(key);
  const began = clock.now();
  t.equal(await lastUse(), began);
  await clock.advance(3_599_999);
  await identity.userOfDevKey(key);
  t.equal(await lastUse(), began, "a write in an hour at most");
  await clock.advance(1);
  await identity.userOfDevKey(key);
  t.equal(await lastUse(), began + 3_600_000);
});

t.test("of a key only its digest is kept", async (t) => {
  const { store, users, identity } = await open(t);
  const { key, kept } = await users.addKey("admin", "laptop");
  t.match(key, /^[\w-]{32}$/);
  t.notOk(JSON.stringify(store.devKeys.byUser((await identity.userOfDevKey(key)).id)).includes(key));
  t.notOk(key.includes(kept.id) || kept.digest.includes(kept.id));
  await t.rejects(() => users.revokeKey("admin", "00000000"), { code: "KEY_NOT_FOUND" });
  const [set] = (await users.keys("admin")).filter((one) => one.fromSetting);
  await t.rejects(() => users.revokeKey("admin", set?.id ?? ""), { code: "REQUEST_INVALID" });
  for (let more = (await users.keys("admin")).length; more < 20; more++) await users.addKey("admin", "");
  await t.rejects(() => users.addKey("admin", ""), { code: "REQUEST_INVALID" }, "they are bounded");
});
