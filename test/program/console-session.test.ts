import t from "tap";
import { appFiles, openStand } from "./contract/stand.ts";
import { openConsole } from "../control/console/fixtures/open-console.ts";

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
    await page.getByRole("button", { name: "Start", exact: true }).click();
    const dialog = page.getByRole("dialog", { name: "Your session has ended" });
    await dialog.waitFor();
    t.equal(await page.locator(".notice.failed").count(), 0, "the sign-in form is the message");
    await picture(`session-ended-${name}`);
    await signIn(stand.key);
    await dialog.waitFor({ state: "detached" });
    await page.getByRole("heading", { name: "container.json" }).waitFor();
    t.match(page.url(), /\/configuration$/, "the page is the same as before");

    await page.context().setOffline(true);
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
