import t from "tap";
import { zipOf } from "../fixtures/berth.ts";
import { appFiles, openStand } from "./contract/stand.ts";
import { goOffline, openConsole } from "../control/console/fixtures/open-console.ts";

for (const [name, options] of [
  ["wide", {}],
  ["phone", { phone: true }],
] as const) {
  t.test(`${name}: a session that ended elsewhere is renewed in place, and a lost connection is a banner`, async (t) => {
    const stand = await openStand(t);
    await stand.published("app", appFiles("web", "one", { on_demand: true }));
    const { page, signIn, picture, troubles } = await openConsole(t, stand.base, options);
    await signIn(stand.key);
    await page.getByRole("link", { name: "app-web", exact: true }).click();
    await page.getByRole("link", { name: "Configuration" }).click();

    await page.context().clearCookies();
    // Another request of the page may have opened the dialog already, which covers the button.
    await page.getByRole("button", { name: "Start", exact: true }).dispatchEvent("click");
    const dialog = page.getByRole("dialog", { name: "Your session has ended" });
    await dialog.waitFor();
    t.equal(await page.locator(".notice.failed").count(), 0, "the sign-in form is the message");
    await picture(`session-ended-${name}`);
    await signIn(stand.key);
    await dialog.waitFor({ state: "detached" });
    await page.getByRole("heading", { name: "container.json" }).waitFor();
    t.match(page.url(), /\/configuration$/, "the page is the same as before");

    await goOffline(page);
    await page.getByText("You are offline.").waitFor();
    await picture(`offline-${name}`);
    await page.context().setOffline(false);
    await page.getByText("You are offline.").waitFor({ state: "detached" });
    t.same(troubles, []);
  });
}

t.test("a signed-out user who opens a container's address signs in at the console, and is then in the container", async (t) => {
  const stand = await openStand(t);
  await stand.published("app", appFiles("web", "hello from the container", { on_demand: true }));
  const { id } = await stand.container("app-web");
  const { page, signIn } = await openConsole(t, stand.base);
  const address = `${stand.api}/docker/containers/proxy/${id}/`;
  t.equal((await fetch(address)).status, 401, "a program gets the status");
  await page.goto(address);
  await signIn(stand.key);
  await page.getByText("hello from the container").waitFor();
  t.equal(page.url(), address);
  t.equal((await fetch(address, { redirect: "manual", headers: { accept: "text/html", "sec-fetch-mode": "cors" } })).status, 401);
});

t.test("a user creates a key in the profile, publishes with it, and ends the session that it opened elsewhere", async (t) => {
  const stand = await openStand(t);
  const { key } = await stand.person("bert");
  const { page, signIn, picture, troubles } = await openConsole(t, stand.base, { at: "profile" });
  await signIn(key);
  const row = (text: string) => page.locator("tbody tr").filter({ hasText: text });
  await row("this session").getByText("127.0.0.1").waitFor();
  await page.getByRole("button", { name: "Create key…" }).click();
  await page.getByLabel("Label").fill("build server");
  await page.getByRole("button", { name: "Create", exact: true }).click();
  const created = await page.getByLabel("Developer key", { exact: true }).inputValue();
  await page.getByRole("button", { name: "Done" }).click();

  const files = { "package.json": JSON.stringify({ name: "berts", version: "1.0.0" }), ...appFiles("web", "one", { on_demand: true }) };
  const published = await fetch(`${stand.api}/packages/dev/berts`, {
    method: "POST",
    headers: { authorization: `Dev ${created}` },
    body: await zipOf(files),
  });
  t.equal(published.status, 200);
  const signedIn = await fetch(`${stand.api}/users/login/dev`, { method: "POST", headers: { authorization: `Dev ${created}` } });
  const { token } = (await signedIn.json()) as { token: string };
  const statusOf = async () => (await fetch(`${stand.api}/users/current`, { headers: { authorization: token } })).status;
  t.equal(await statusOf(), 200);
  const atEdge = await fetch(`${stand.api}/users/current/keys`, { headers: { authorization: token } });
  t.equal(atEdge.status, 403, "a session of the edge manages no keys");
  await page.reload();
  const other = page.getByRole("region", { name: "Sessions" }).locator("tbody tr").filter({ hasText: "build server" });
  await other.getByText("127.0.0.1").waitFor();
  await picture("profile-of-a-user");
  await other.getByRole("button", { name: "End" }).click();
  await other.waitFor({ state: "detached" });
  t.equal(await statusOf(), 401);
  t.same(troubles, []);
});

t.test("a user without administration sees no page of administrators, and no button that is refused", async (t) => {
  const stand = await openStand(t);
  await stand.published("app", appFiles("web", "one", { on_demand: true }));
  const { key } = await stand.person("bert");
  const { page, signIn, picture, troubles } = await openConsole(t, stand.base);
  await signIn(key);
  await page.getByRole("link", { name: "app-web", exact: true }).waitFor();
  t.equal(await page.getByRole("link", { name: "Administration" }).count(), 0);
  t.equal(await page.getByRole("button", { name: /^Start/ }).count(), 0);
  await page.getByRole("link", { name: "app-web", exact: true }).click();
  await page.getByText("can start and stop this container").waitFor();
  t.equal(await page.getByRole("alert").count(), 0);
  t.equal(await page.getByRole("button", { name: "Start", exact: true }).count(), 0);
  await picture("container-of-others");
  t.same(troubles, []);
});
