import t from "tap";
import { appFiles, openStand } from "./contract/stand.ts";
import { openConsole } from "../control/console/fixtures/open-console.ts";
import { eventually } from "../fixtures/eventually.ts";

for (const [name, options] of [
  ["wide", {}],
  ["phone", { phone: true }],
] as const) {
  t.test(`${name}: a package is rolled back to an earlier version, and unpublished after its containers are shown`, async (t) => {
    const stand = await openStand(t);
    await stand.published("app", appFiles("web", "one", { on_demand: true }));
    await stand.published("app", appFiles("web", "two", { on_demand: true }));
    const { id } = await stand.container("app-web");
    const answer = async () => (await stand.call(`/docker/containers/proxy/${id}/`)).text();
    await eventually("the second version answers", async () => (await answer()) === "two" || undefined);

    const { page, signIn, openSection, picture, fits, troubles } = await openConsole(t, stand.base, { ...options, at: `containers/${id}` });
    await signIn(stand.key);
    await page.locator("h1", { hasText: "app-web" }).waitFor();
    await page.getByRole("link", { name: "app", exact: true }).click();
    await page.getByRole("heading", { name: "Versions" }).waitFor();
    t.equal(await page.locator("tbody tr").count(), 2);
    t.ok(await fits());
    await picture(`package-${name}`);

    await page.getByRole("button", { name: "Roll back… to 1" }).click();
    await page.getByRole("dialog").getByRole("button", { name: "Cancel" }).click();
    t.equal(await page.locator("tbody tr").count(), 2, "nothing changes without a yes");
    await page.getByRole("button", { name: "Roll back… to 1" }).click();
    await picture(`package-rollback-${name}`);
    await page.getByRole("dialog").getByRole("button", { name: "Roll back" }).click();
    await page.getByText("the same as 1").waitFor();
    t.equal(await page.locator("tbody tr").count(), 3);
    await eventually("the first version answers again", async () => (await answer()) === "one" || undefined);

    await page.getByRole("button", { name: "Unpublish…" }).click();
    const dialog = page.getByRole("dialog");
    await dialog.getByRole("listitem").filter({ hasText: "app-web" }).waitFor();
    await picture(`package-unpublish-${name}`);
    await dialog.getByRole("button", { name: "Cancel" }).click();
    t.equal((await stand.call(`/docker/containers/${id}`)).status, 200);
    await page.getByRole("button", { name: "Unpublish…" }).click();
    await dialog.getByRole("button", { name: "Unpublish" }).click();
    await page.getByText("current, unpublished").waitFor();
    t.equal((await stand.call(`/docker/containers/${id}`)).status, 404);

    await openSection("Packages");
    await page.getByLabel("Search packages").fill("no such package");
    await page.getByText("No package matches.").waitFor();
    await page.getByLabel("Search packages").fill("ap");
    await page.getByRole("link", { name: "app", exact: true }).waitFor();
    t.ok(await fits());
    t.same(troubles, []);
  });
}

/** Types into the search in the same task that shows it, as on a busy machine before the first frame. */
const TYPE_AT_ONCE = `new Promise((resolve) => {
  new MutationObserver((_, observer) => {
    const box = document.querySelector("input[type=search]");
    if (!box) return;
    observer.disconnect();
    box.value = "no such package";
    box.dispatchEvent(new InputEvent("input", { bubbles: true }));
    resolve();
  }).observe(document.body, { childList: true, subtree: true });
  location.hash = "#/packages";
})`;

t.test("what is typed as soon as a search is there is searched for", async (t) => {
  const stand = await openStand(t);
  await stand.published("app", appFiles("web", "one", { on_demand: true }));
  const { page, signIn } = await openConsole(t, stand.base, { at: "packages/app" });
  await signIn(stand.key);
  await page.getByRole("heading", { name: "Versions" }).waitFor();
  await page.evaluate(TYPE_AT_ONCE);
  await page.getByText("No package matches.").waitFor();
  t.equal(await page.getByLabel("Search packages").inputValue(), "no such package");
});

t.test("versions of a package of others are not shown", async (t) => {
  const stand = await openStand(t);
  await stand.published("app", appFiles("web", "one", { on_demand: true }));
  const { key } = await stand.person("bert");
  const { page, signIn } = await openConsole(t, stand.base, { at: "packages/app" });
  await signIn(key);
  await page.getByText("see its versions").waitFor();
  t.equal(await page.getByRole("button", { name: /Roll back|Unpublish/ }).count(), 0);
  t.equal(await page.getByRole("alert").count(), 0);
});
