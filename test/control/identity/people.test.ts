import t, { type Test } from "tap";
import { systemClock } from "../../../lib/clock.ts";
import { mayManageAuthor } from "../../../control/identity/rights.ts";
import { createIdentity } from "../../../control/identity/open-identity.ts";
import { openStore } from "../../../control/store/open-store.ts";

async function open(t: Test) {
  const clock = systemClock();
  const store = await openStore({ folder: t.testdir({}), clock });
  t.teardown(() => store.close());
  const identity = createIdentity({ store, clock });
  return { store, identity, people: identity.users, admin: await identity.ensureAdmin("admins-key") };
}

t.test("who shares a group with an author may do what the author may", async (t) => {
  const { store, people, admin } = await open(t);
  const rows: [login: string, groups: string[], may: boolean][] = [
    ["author", ["lab", "chess"], true],
    ["colleague", ["lab"], true],
    ["player", ["x", "chess"], true],
    ["stranger", ["x"], false],
    ["loner", [], false],
  ];
  for (const [login, groups] of rows) await people.add(login, { groups });
  const author = (await store.users.byLogin("author"))?.id ?? "";
  for (const [login, , may] of rows)
    t.equal(await mayManageAuthor(store, { userId: (await store.users.byLogin(login))?.id ?? "", admin: false }, author), may, login);
  t.ok(await mayManageAuthor(store, { userId: admin.id, admin: true }, author), "an administrator may everything");
  await people.change("colleague", { groups: ["x"] });
  t.notOk(
    await mayManageAuthor(store, { userId: (await store.users.byLogin("colleague"))?.id ?? "", admin: false }, author),
    "out of the group, out of the rights",
  );
  t.same((await people.all()).map(({ user, groups }) => [user.login, groups]).at(2), ["colleague", ["x"]]);
});

t.test("a login is short, plain, and one person's", async (t) => {
  const { people } = await open(t);
  await people.add("Anna.M-1", {});
  for (const taken of ["Anna.M-1", "anna.m-1", "ADMIN"]) await t.rejects(() => people.add(taken, {}), { code: "LOGIN_TAKEN" }, taken);
  for (const login of ["", " ", "a b", "-a", "a/b", "a@b", "ä", "x".repeat(64), "current", "Login", "logout"]) {
    await t.rejects(() => people.add(login, {}), { code: "REQUEST_INVALID" }, login);
  }
});

t.test("who is removed leaves packages to the one who removed, and no session behind", async (t) => {
  const { store, people, identity, admin } = await open(t);
  const { user } = await people.add("anna", { groups: ["lab"] });
  const { key } = await people.addKey("anna", "");
  const token = await identity.signIn(key);
  await store.packages.insert({ id: "p", name: "annas", version: "1", authorId: user.id, createdOn: 0, updatedOn: 0 });
  t.same(await people.remove("anna", admin), ["annas"]);
  t.equal((await store.packages.find("p"))?.authorId, admin.id);
  t.equal(await identity.who(token), undefined);
  await t.rejects(() => identity.signIn(key), { code: "DEV_KEY_INVALID" });
  t.same(await store.groups.ofUser(user.id), []);
  for (const act of [
    () => people.remove("anna", admin),
    () => people.change("anna", {}),
    () => people.keys("anna"),
    () => people.addKey("anna", ""),
  ]) {
    await t.rejects(async () => void (await act()), { code: "USER_NOT_FOUND" });
  }
});

t.test("there is always an administrator", async (t) => {
  const { people, admin } = await open(t);
  await t.rejects(() => people.remove("admin", admin), { code: "REQUEST_INVALID" });
  await t.rejects(() => people.change("admin", { admin: false }), { code: "REQUEST_INVALID" });
  const { user } = await people.add("second", { admin: true });
  await t.rejects(() => people.remove("second", user), { code: "REQUEST_INVALID" }, "nobody removes themselves");
});

t.test("of a key only its digest is kept", async (t) => {
  const { store, people, identity } = await open(t);
  const { key, kept } = await people.addKey("admin", "laptop");
  t.match(key, /^[\w-]{32}$/);
  t.notOk(JSON.stringify(store.devKeys.byUser((await identity.userOfDevKey(key)).id)).includes(key));
  t.notOk(key.includes(kept.id) || kept.digest.includes(kept.id));
  await t.rejects(() => people.revokeKey("admin", "00000000"), { code: "KEY_NOT_FOUND" });
  const [set] = (await people.keys("admin")).filter((one) => one.fromSetting);
  await t.rejects(() => people.revokeKey("admin", set?.id ?? ""), { code: "REQUEST_INVALID" });
  for (let more = (await people.keys("admin")).length; more < 20; more++) await people.addKey("admin", "");
  await t.rejects(() => people.addKey("admin", ""), { code: "REQUEST_INVALID" }, "they are bounded");
});
