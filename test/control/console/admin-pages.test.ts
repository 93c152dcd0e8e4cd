import t, { type Test } from "tap";
import type { Orphan } from "../../../control/lifecycle/observe-engine.ts";
import { ADMIN_KEY, openApiFixture } from "../api/fixtures/open-api-fixture.ts";
import { openConsole } from "./fixtures/open-console.ts";
import { listenForBrowsers } from "./fixtures/listen-for-browsers.ts";

const CONTAINER_ID = "0a0138c5-1111-4222-8333-944455556666";
const ENTRIES = 120;
const WIDTHS = [
  ["wide", {}],
  ["phone", { phone: true }],
  ["dark", { dark: true }],
] as const;

function orphan(service: string, running: boolean, why: Orphan["why"]): Orphan {
  const labels = { store: "5c2d7a90-0000-4000-8000-000000000000", environment: "test", container: CONTAINER_ID, generation: 3 };
  return { observed: { service, running, labels }, why } as Orphan;
}

/** An API with entries of the audit log, and two orphans. */
async function openAdministration(t: Test) {
  const orphans = [orphan("berth-demo-square-0a0138c5", true, "another store"), orphan("berth-old-model-77aa01fe", false, "unknown id")];
  const fixture = await openApiFixture(t, {}, undefined, {
    orphans: {
      findOrphans: async () => [...orphans],
      removeOrphan: async (service) =>
        void orphans.splice(
          orphans.findIndex(({ observed }) => observed.service === service),
          1,
        ),
    },
  });
  const now = Date.now();
  for (let index = 0; index < ENTRIES; index++) {
    const isStart = index % 3 === 0;
    await fixture.store.audit.append(
      {
        action: isStart ? "containerStarted" : "packagePublished",
        target: isStart ? `app-web-${index} (${CONTAINER_ID})` : `package-${index}`,
        userId: undefined,
        login: index % 2 === 0 ? "anna" : "bert",
        via: "devKey",
        address: "203.0.113.9",
        requestId: undefined,
        status: index % 10 === 0 ? 500 : 200,
        at: now - (ENTRIES - index) * 60_000,
      },
      0,
    );
  }
  return { fixture, base: await listenForBrowsers(t, fixture) };
}

for (const [name, options] of WIDTHS) {
  t.test(`${name}: the audit log is filtered and paged by the server, and leads to containers`, async (t) => {
    const { base } = await openAdministration(t);
    const { page, signIn, openSection, picture, fits, troubles } = await openConsole(t, base, { ...options, at: "overview" });
    await signIn(ADMIN_KEY);
    await openSection("Administration");
    await (options === WIDTHS[1][1]
      ? openSection("Audit log")
      : page.getByRole("navigation", { name: "Administration" }).getByRole("link", { name: "Audit log" }).click());
    const rows = page.locator("tbody tr");
    await page.getByRole("cell", { name: "package-119" }).waitFor();
    t.equal(await rows.count(), 50);
    t.ok(await fits());
    await picture(`audit-${name}`);

    t.ok(await page.getByRole("button", { name: "Newer" }).isDisabled());
    await page.getByRole("button", { name: "Older" }).click();
    await page.getByRole("cell", { name: "package-119" }).waitFor({ state: "detached" });
    await page.getByRole("button", { name: "Older" }).click();
    await page.getByRole("link", { name: "app-web-0", exact: true }).waitFor();
    t.ok(await page.getByRole("button", { name: "Older" }).isDisabled());
    await page.getByRole("button", { name: "Newer" }).click();
    await page.getByRole("link", { name: "app-web-0", exact: true }).waitFor({ state: "detached" });

    await page.getByRole("textbox", { name: "User" }).fill("anna");
    await page.keyboard.press("Enter");
    await page.getByRole("combobox", { name: "Action" }).selectOption("Started container");
    await page.getByRole("link", { name: "app-web-114", exact: true }).waitFor();
    await page.getByText("package-").first().waitFor({ state: "detached" });
    t.equal(await rows.count(), 20);
    t.match(page.url(), /login=anna&action=containerStarted/, "the address keeps the filter");
    await page.getByLabel("Target contains").fill("app-web-60");
    await page.keyboard.press("Enter");
    await page.getByRole("link", { name: "app-web-114", exact: true }).waitFor({ state: "detached" });
    await page.getByRole("link", { name: "app-web-60", exact: true }).waitFor();
    t.equal(await rows.count(), 1);
    await page.getByLabel("Before").fill("2020-01-01T00:00");
    await page.keyboard.press("Tab");
    await page.getByText("No entry matches.").waitFor();
    await page.getByLabel("Before").fill("");
    await page.keyboard.press("Tab");
    await page.getByRole("link", { name: "app-web-60", exact: true }).click();
    t.match(page.url(), new RegExp(`containers/${CONTAINER_ID}/history`));
    t.same(troubles, []);
  });

  t.test(`${name}: settings are searched, and named with their source`, async (t) => {
    const { base } = await openAdministration(t);
    const { page, signIn, picture, fits, troubles } = await openConsole(t, base, { ...options, at: "administration/settings" });
    await signIn(ADMIN_KEY);
    await page.getByRole("row").filter({ hasText: "BERTH_WORKERS" }).getByText("3", { exact: true }).waitFor();
    t.ok(await fits());
    await page.getByRole("button", { name: /^environment/ }).click();
    const rows = page.locator("tbody tr");
    await rows.nth(3).waitFor({ state: "detached" });
    t.equal(await rows.count(), 3);
    t.equal(await page.getByText("hush").count(), 0);
    t.match(await rows.filter({ hasText: "adminKey" }).innerText(), /\*\*\*[^]*BERTH_ADMIN_KEY/);
    t.match(await rows.filter({ hasText: "BERTH_WORKERS" }).innerText(), /default: \d/);
    await picture(`settings-${name}`);
    await page.getByRole("button", { name: /^all/ }).click();
    await page.getByLabel("Search settings").fill("registry storage secret");
    await rows.filter({ hasText: "BERTH_WORKERS" }).waitFor({ state: "detached" });
    await page.getByLabel("Search settings").fill("no such setting");
    await page.getByText("No setting matches.").waitFor();
    t.same(troubles, []);
  });

  t.test(`${name}: an orphan is removed after a question`, async (t) => {
    const { base, fixture } = await openAdministration(t);
    const { page, signIn, picture, fits, troubles } = await openConsole(t, base, { ...options, at: "administration/orphans" });
    await signIn(ADMIN_KEY);
    await page.locator("code", { hasText: "berth-demo-square-0a0138c5" }).waitFor();
    t.ok(await fits());
    await picture(`orphans-${name}`);
    const remove = page.getByRole("button", { name: "Remove… berth-demo-square-0a0138c5" });
    await remove.click();
    await page.getByRole("dialog").getByRole("button", { name: "Cancel" }).click();
    t.equal(await page.locator("tbody tr").count(), 2, "nothing is removed without a yes");
    await remove.click();
    await picture(`orphans-question-${name}`);
    await page.getByRole("dialog").getByRole("button", { name: "Remove" }).click();
    await remove.waitFor({ state: "detached" });
    t.equal(await page.locator("tbody tr").count(), 1);
    t.match(await fixture.store.audit.list({ limit: 1 }), [{ action: "orphanRemoved", target: "berth-demo-square-0a0138c5" }]);
    await page.getByRole("button", { name: /Remove…/ }).click();
    await page.getByRole("dialog").getByRole("button", { name: "Remove" }).click();
    await page.getByText("No orphans.").waitFor();
    t.same(troubles, []);
  });
}
