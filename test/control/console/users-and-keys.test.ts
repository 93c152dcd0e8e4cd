import t, { type Test } from "tap";
import { ADMIN_KEY, openApiFixture } from "../api/fixtures/open-api-fixture.ts";
import { listenForBrowsers } from "./fixtures/listen-for-browsers.ts";
import { type Console, openConsole } from "./fixtures/open-console.ts";

const FITS = "document.documentElement.scrollWidth <= document.documentElement.clientWidth";

type Walk = Console & { t: Test; name: string; base: string; server: Awaited<ReturnType<typeof openApiFixture>> };

/** A walk through the console, on a phone and on a wide screen, each with a server of its own. `at`: the page that a sign-in leads to. */
function walk(sentence: string, at: string, steps: (walk: Walk) => Promise<void>, prepare = async (_server: Walk["server"]) => ADMIN_KEY): void {
  for (const phone of [true, false]) {
    const name = phone ? "phone" : "wide";
    t.test(`${name}: ${sentence}`, async (t) => {
      const server = await openApiFixture(t);
      const key = await prepare(server);
      const base = await listenForBrowsers(t, server);
      const opened = await openConsole(t, base, { phone, at });
      await opened.signIn(key);
      const fitting: Console["picture"] = async (picture) => {
        t.ok(await opened.page.evaluate<boolean>(FITS), `${picture}: nothing sticks out to the side`);
        await opened.picture(`${picture}-${name}`);
      };
      await steps({ ...opened, picture: fitting, t, name, base, server });
      t.same(opened.troubles, []);
    });
  }
}

const row = ({ page }: Walk, text: string | RegExp) => page.locator("tbody tr").filter({ hasText: text });
const dialog = ({ page }: Walk) => page.getByRole("dialog");

walk("a user is added, changed, put into groups, given a key that works, and removed", "administration/users", async (opened) => {
  const { t, page, server, picture, base } = opened;
  await page.getByRole("button", { name: "Add user…" }).click();
  await dialog(opened).getByLabel("Login").fill("not a login");
  await dialog(opened).getByRole("button", { name: "Add" }).click();
  await dialog(opened).getByRole("alert").waitFor();
  await picture("add-user");
  await dialog(opened).getByLabel("Login").fill("anna");
  await dialog(opened).getByLabel("Name").fill("Anna of the lab");
  await dialog(opened).getByRole("button", { name: "Add" }).click();

  await page.getByRole("heading", { name: "anna", level: 1 }).waitFor();
  await page.getByText("Anna of the lab").waitFor();
  await page.getByRole("button", { name: "Change…" }).click();
  await dialog(opened).getByLabel("Administrator").check();
  await dialog(opened).getByRole("button", { name: "Save" }).click();
  await page.getByText("administrator", { exact: true }).waitFor();

  const groups = page.getByRole("region", { name: "Groups" });
  const longest = "w".repeat(63);
  for (const group of ["lab", "chess", longest]) {
    await groups.getByLabel("Group").fill(group);
    await groups.getByRole("button", { name: "Add to group" }).click();
    await groups.getByRole("link", { name: group }).waitFor();
  }
  await picture("user-of-groups");
  await groups.getByRole("button", { name: `Remove from ${longest}` }).click();
  await groups.getByRole("button", { name: "Remove from chess" }).click();
  await groups.getByRole("link", { name: "chess" }).waitFor({ state: "detached" });
  t.same((await server.get("/admin/users/anna")).json["groups"], ["lab"]);

  const keys = page.getByRole("region", { name: "Developer keys" });
  await keys.getByRole("button", { name: "Create key…" }).click();
  await dialog(opened).getByLabel("Label").fill("laptop");
  await dialog(opened).getByRole("button", { name: "Create" }).click();
  const key = await page.getByLabel("Developer key", { exact: true }).inputValue();
  await picture("created-key");
  await page.context().grantPermissions(["clipboard-read", "clipboard-write"]);
  await dialog(opened).getByRole("button", { name: "Copy" }).click();
  await dialog(opened).getByText("Copied.").waitFor();
  t.equal(await page.evaluate("navigator.clipboard.readText()"), key);
  await page.keyboard.press("Escape");
  await dialog(opened).getByRole("button", { name: "Done" }).click();
  await keys.getByText("laptop").waitFor();
  t.notOk((await page.content()).includes(key), "the key is shown once");

  // Anna signs in elsewhere with it, and publishes.
  const token = await server.identity.signIn(key, "plain", "192.0.2.9");
  const published = await server.publish("annas-package", { "dockerfiles/web/Dockerfile": "FROM scratch\nEXPOSE 80" }, { key });
  t.equal(published.status, 200);
  await page.reload();
  await page.getByRole("region", { name: "Packages" }).getByText("annas-package").waitFor();
  await page.getByRole("region", { name: "Recent changes" }).getByText("Published package").waitFor();
  const sessions = page.getByRole("region", { name: "Sessions" });
  await sessions.getByText("192.0.2.9").waitFor();
  await picture("user");
  await sessions.getByRole("button", { name: "End session" }).click();
  await sessions.getByText("No sessions.").waitFor();
  t.equal(await server.identity.who(token), undefined);

  await page.getByRole("link", { name: "All entries in the audit log" }).click();
  await page.getByRole("heading", { name: "Audit log", level: 1 }).waitFor();
  t.match(page.url(), /\?login=anna$/);
  await page.goBack();
  await page.getByRole("heading", { name: "anna", level: 1 }).waitFor();

  const statusOfKey = async () => (await server.call("/users/current", { headers: { authorization: `Dev ${key}` } })).status;
  await page.getByRole("button", { name: "Block…" }).click();
  await dialog(opened).getByRole("button", { name: "Block" }).click();
  await page.getByText("blocked", { exact: true }).waitFor();
  t.equal(await statusOfKey(), 403);
  await picture("blocked-user");
  await page.getByRole("button", { name: "Unblock" }).click();
  await page.getByRole("button", { name: "Block…" }).waitFor();
  t.equal(await statusOfKey(), 200);

  await page.getByRole("button", { name: "Remove…" }).click();
  await dialog(opened).getByRole("button", { name: "Cancel" }).click();
  await page.getByRole("button", { name: "Remove…" }).click();
  await dialog(opened).getByRole("button", { name: "Remove" }).click();
  await page.getByText("You are the author of annas-package now.").waitFor();
  await row(opened, "admin").waitFor();
  t.equal(await row(opened, "anna").count(), 0);
  t.equal((await server.call("/users/current", { headers: { authorization: `Dev ${key}` } })).status, 401);

  await page.goto(`${base}/#/administration/users/admin`);
  await page.getByRole("heading", { name: "admin", level: 1 }).waitFor();
  t.equal(await page.getByRole("button", { name: "Remove…" }).count(), 0, "the first user stays");
});

walk(
  "120 users are searched and paged, and the address keeps both",
  "administration/users",
  async (opened) => {
    const { t, page, picture } = opened;
    const rows = page.locator("tbody tr");
    await page.getByText("1–50 of 121").waitFor();
    t.equal(await rows.count(), 50);
    await picture("users");
    await page.getByRole("button", { name: "Next" }).click();
    await page.getByText("51–100 of 121").waitFor();
    await page.getByRole("button", { name: "Next" }).click();
    await page.getByText("101–121 of 121").waitFor();
    t.ok(await page.getByRole("button", { name: "Next" }).isDisabled());
    t.match(page.url(), /\?page=3$/);
    await page.reload();
    await page.getByText("101–121 of 121").waitFor();
    await page.getByLabel("Search users").fill("user-11");
    // The page before had 21, of which user-119 was one.
    await rows.nth(10).waitFor({ state: "detached" });
    await row(opened, "user-119").waitFor();
    t.equal(await rows.count(), 10);
    t.match(page.url(), /\?search=user-11$/);
    await page.getByRole("link", { name: "user-112" }).click();
    await page.getByRole("heading", { name: "user-112", level: 1 }).waitFor();
    await page.goBack();
    await row(opened, "user-119").waitFor();
    t.equal(await page.getByLabel("Search users").inputValue(), "user-11");
    await page.getByLabel("Search users").fill("no-such-user");
    await page.getByText("No rows match.").waitFor();
  },
  async ({ identity }) => {
    for (let index = 0; index < 120; index++) await identity.users.add(`user-${String(index).padStart(3, "0")}`, {});
    return ADMIN_KEY;
  },
);

walk(
  "a group begins with its first member, and ends with its last one",
  "administration/groups",
  async (opened) => {
    const { t, page, server, picture } = opened;
    await page.getByText("No groups.").waitFor();
    await page.getByRole("button", { name: "Add group…" }).click();
    await dialog(opened).getByLabel("Group").fill("lab");
    await dialog(opened).getByLabel("First member").fill("unknown");
    await dialog(opened).getByRole("button", { name: "Add" }).click();
    await dialog(opened).getByText("There is no user unknown.").waitFor();
    await dialog(opened).getByLabel("First member").fill("anna");
    await dialog(opened).getByRole("button", { name: "Add" }).click();
    await page.getByRole("heading", { name: "lab", level: 1 }).waitFor();
    await page.getByRole("button", { name: "Add member…" }).click();
    await dialog(opened).getByLabel("Login").fill("bert");
    await dialog(opened).getByRole("button", { name: "Add" }).click();
    await row(opened, "bert").waitFor();
    await picture("group");
    await page.getByRole("link", { name: "Groups", exact: true }).first().click();
    await row(opened, /lab.*2/).waitFor();
    await picture("groups");
    await page.getByRole("link", { name: "lab", exact: true }).click();
    for (const login of ["anna", "bert"]) {
      await row(opened, login).getByRole("button", { name: "Remove" }).click();
      await row(opened, login).waitFor({ state: "detached" });
    }
    await page.getByText("the group does not exist any more").waitFor();
    t.same(await server.store.groups.all(), []);
  },
  async ({ identity }) => {
    for (const login of ["anna", "bert"]) await identity.users.add(login, {});
    return ADMIN_KEY;
  },
);

walk(
  "developer keys of all users are searched, created and revoked",
  "administration/keys",
  async (opened) => {
    const { t, page, server, picture } = opened;
    await row(opened, "build server").waitFor();
    await row(opened, "from the settings").waitFor();
    t.equal(await row(opened, "from the settings").getByRole("button").count(), 0, "it is changed with the settings");
    await picture("keys");
    await page.getByRole("button", { name: "Create key…" }).click();
    await dialog(opened).getByLabel("User").fill("anna");
    await dialog(opened).getByLabel("Label").fill("notebook");
    await dialog(opened).getByRole("button", { name: "Create" }).click();
    const key = await page.getByLabel("Developer key", { exact: true }).inputValue();
    await dialog(opened).getByRole("button", { name: "Done" }).click();
    await row(opened, "notebook").waitFor();
    const token = await server.identity.signIn(key);
    await page.getByLabel("Search keys").fill("NOTE");
    await row(opened, "build server").waitFor({ state: "detached" });
    await page.reload();
    await row(opened, "notebook").getByRole("button", { name: "Revoke…" }).click();
    await dialog(opened).getByText("Its session ends within 10 seconds.").waitFor();
    await dialog(opened).getByRole("button", { name: "Revoke" }).click();
    await page.getByText("No rows match.").waitFor();
    t.equal(await server.identity.who(token), undefined);
  },
  async ({ identity }) => {
    await identity.users.add("anna", {});
    await identity.users.addKey("anna", "build server");
    return ADMIN_KEY;
  },
);

walk(
  "sessions are searched and ended, one by one and all of a user; the own one stays",
  "administration/sessions",
  async (opened) => {
    const { t, page, server, picture } = opened;
    await row(opened, "this session").getByText("Console").waitFor();
    await row(opened, /anna.*Command line/).waitFor();
    await picture("sessions");
    await page.getByLabel("Search sessions").fill("192.0.2.1");
    await row(opened, "this session").waitFor({ state: "detached" });
    await row(opened, "192.0.2.1").getByRole("button", { name: "End" }).click();
    await page.getByText("No rows match.").waitFor();
    await page.getByLabel("Search sessions").fill("anna");
    await row(opened, "192.0.2.2").getByRole("link", { name: "anna" }).click();
    await page.getByRole("button", { name: "End all…" }).click();
    await dialog(opened).getByRole("button", { name: "End" }).click();
    await page.getByText("2 sessions end within 10 seconds.").waitFor();
    await page.getByRole("region", { name: "Sessions" }).getByText("No sessions.").waitFor();
    t.equal((await server.store.sessions.byUser((await server.store.users.byLogin("anna"))?.id ?? "")).length, 0);
  },
  async ({ identity }) => {
    await identity.users.add("anna", {});
    const { key } = await identity.users.addKey("anna", "");
    for (const [at, kind] of (["plain", "administration", "console"] as const).entries()) await identity.signIn(key, kind, `192.0.2.${at + 1}`);
    return ADMIN_KEY;
  },
);

walk(
  "credentials are set, replaced and removed without being shown, with the containers that use them",
  "administration/credentials",
  async (opened) => {
    const { t, page, server, picture } = opened;
    const target = page.getByRole("listitem", { name: "chem", exact: true });
    await target.getByRole("button", { name: "Set…" }).click();
    await dialog(opened).getByLabel("Name").fill("LICENCE");
    await dialog(opened).getByLabel("Value").fill("line one\nline two");
    await dialog(opened).getByRole("button", { name: "Add another" }).click();
    await dialog(opened).getByLabel("Name").nth(1).fill("login");
    await dialog(opened).getByLabel("Value").nth(1).fill("secret-of-login");
    t.equal(await page.evaluate("getComputedStyle(document.querySelector('dialog textarea')).webkitTextSecurity"), "disc");
    await picture("set-credentials");
    await dialog(opened).getByRole("button", { name: "Set" }).click();
    await target.getByText("LICENCE").waitFor();
    await target.getByRole("link", { name: "chem-reader" }).waitFor();
    t.same(Object.keys(((await server.get("/credentials/for/chem")).json as unknown as { parameters: object }).parameters), ["LICENCE", "login"]);
    const owner = (await server.store.packages.all())[0]?.id ?? "";
    t.match(await server.credentials.packageEnv(owner), { LICENCE: "line one\nline two" });
    const connection = page.getByRole("listitem", { name: "chem.Chembl" });
    t.match(await connection.textContent(), /password.*published with the package.*chem-reader/);
    await picture("credentials");
    t.notOk(/secret-of-login|line two|brought-secret/.test(await page.content()), "no value is in the page");

    await target.getByRole("button", { name: "Set…" }).click();
    await dialog(opened).getByLabel("Name").fill("TOKEN");
    await dialog(opened).getByLabel("Value").fill("x");
    await dialog(opened).getByLabel("Remove all others").check();
    await dialog(opened).getByRole("button", { name: "Set" }).click();
    await target.getByText("TOKEN").waitFor();
    t.equal(await target.getByText("LICENCE").count(), 0);
    await target.getByRole("button", { name: "Remove…" }).click();
    await dialog(opened).getByRole("button", { name: "Remove" }).click();
    await target.getByText("None.").waitFor();

    await page.getByLabel("Only packages with credentials").check();
    await connection.waitFor();
    await page.getByLabel("Search packages").fill("other");
    await page.getByText("No rows match.").waitFor();
    await page.getByRole("button", { name: "Seal with a new key…" }).click();
    await dialog(opened).getByRole("button", { name: "Seal" }).click();
    await page.getByText(/^A new key seals \d+ secrets?\.$/).waitFor();
    t.match(await server.credentials.renderEnv({ packageId: owner, env: { A: "#{x.Chembl}" } }), { A: /brought-secret/ });
  },
  async ({ publish }) => {
    const connection = { "#type": "DataConnection", name: "Chembl", credentials: { parameters: { password: "brought-secret" } } };
    await publish("chem", {
      "connections/chembl.json": JSON.stringify(connection),
      "dockerfiles/reader/Dockerfile": "FROM scratch\nEXPOSE 80",
      "dockerfiles/reader/container.json": JSON.stringify({ env: { SOURCE: "#{x.Chembl}" } }),
    });
    await publish("other", { "dockerfiles/web/Dockerfile": "FROM scratch\nEXPOSE 80" });
    return ADMIN_KEY;
  },
);

walk(
  "signing keys are listed, rotated and revoked after a question",
  "administration/signing-keys",
  async (opened) => {
    const { t, page, picture, server } = opened;
    const rows = page.locator("tbody tr");
    await page.getByText("signs tokens", { exact: true }).waitFor();
    await page.getByRole("button", { name: "Rotate…" }).click();
    await dialog(opened).getByRole("button", { name: "Cancel" }).click();
    t.equal(await rows.count(), 1, "nothing happens without a yes");
    await page.getByRole("button", { name: "Rotate…" }).click();
    await dialog(opened).getByRole("button", { name: "Rotate" }).click();
    await rows.nth(1).getByText("retired").waitFor();
    await page.getByText("A new key signs from now on.").waitFor();
    await picture("signing-keys");
    const kid = (await rows.nth(1).locator("code").textContent()) ?? "";
    await rows.nth(1).getByRole("button", { name: "Revoke" }).click();
    await dialog(opened).getByRole("button", { name: "Revoke" }).click();
    await rows.nth(1).waitFor({ state: "detached" });
    t.notOk(JSON.stringify((await server.get("/admin/keys")).json).includes(kid));
  },
  async ({ call }) => {
    await call("/docker/keys");
    return ADMIN_KEY;
  },
);

walk(
  "every user has a profile: groups, own keys, own sessions; and no page of administrators",
  "profile",
  async (opened) => {
    const { t, page, server, picture } = opened;
    await page.getByRole("heading", { name: "Profile" }).waitFor();
    await page.getByText("lab", { exact: true }).waitFor();
    const sessions = page.getByRole("region", { name: "Sessions" });
    await row(opened, "198.51.100.4").waitFor();
    await picture("profile");
    await sessions.getByRole("button", { name: "End all others…" }).click();
    await dialog(opened).getByRole("button", { name: "End" }).click();
    await page.getByText("1 session ends within 10 seconds.").waitFor();
    await row(opened, "198.51.100.4").waitFor({ state: "detached" });
    await row(opened, "this session").waitFor();

    const keys = page.getByRole("region", { name: "Developer keys" });
    await keys.getByRole("button", { name: "Create key…" }).click();
    await dialog(opened).getByLabel("Label").fill("laptop");
    await dialog(opened).getByRole("button", { name: "Create" }).click();
    const key = await page.getByLabel("Developer key", { exact: true }).inputValue();
    await dialog(opened).getByRole("button", { name: "Done" }).click();
    t.equal((await server.call("/users/current", { headers: { authorization: `Dev ${key}` } })).json["login"], "bert");
    await row(opened, "laptop").getByRole("button", { name: "Revoke…" }).click();
    await dialog(opened).getByRole("button", { name: "Revoke" }).click();
    await row(opened, "laptop").waitFor({ state: "detached" });
    t.equal((await server.call("/users/current", { headers: { authorization: `Dev ${key}` } })).status, 401);

    t.equal(await page.getByRole("link", { name: "Administration" }).count(), 0);
    await page.evaluate('location.hash = "#/administration/users"');
    await page.getByRole("heading", { name: "Overview", level: 1 }).waitFor();
    t.equal(await page.getByText("Add user…").count(), 0);

    await page.evaluate('location.hash = "#/profile"');
    await row(opened, "in use here").getByRole("button", { name: "Revoke…" }).click();
    await dialog(opened).getByText("you are signed out").waitFor();
    await dialog(opened).getByRole("button", { name: "Revoke" }).click();
    await page.getByRole("dialog", { name: "Your session has ended" }).waitFor();
  },
  async ({ addUser, store, identity }) => {
    const { user, key } = await addUser("bert");
    await store.sessions.removeAllOf(user.id, undefined);
    await identity.users.joinGroup("bert", "lab");
    await identity.signIn(key, "plain", "198.51.100.4");
    return key;
  },
);
