import { randomUUID } from "node:crypto";
import t, { type Test } from "tap";
import type { ContainerState } from "../../../control/model/states.ts";
import { eventually } from "../../fixtures/eventually.ts";
import { ADMIN_KEY, openApiFixture } from "../api/fixtures/open-api-fixture.ts";
import { newContainer, newImage, PACKAGE } from "../lifecycle/lifecycle-fixture.ts";
import { listenForBrowsers } from "./fixtures/listen-for-browsers.ts";
import { openConsole } from "./fixtures/open-console.ts";

const STATES: readonly ContainerState[] = ["STARTED", "SYSTEM_STOPPED", "USER_STOPPED", "ERROR"];

/** A server with so many containers, named `web-00000` and so on; those with odd numbers are another author's. */
async function openMany(t: Test, count: number) {
  const stand = await openApiFixture(t);
  const now = Date.now();
  const other = await stand.addUser("bert");
  const otherPackage = randomUUID();
  const common = { version: "1.0.0", createdOn: now, updatedOn: now };
  await stand.store.packages.insert({ id: PACKAGE, name: "mine", authorId: stand.admin.id, ...common });
  await stand.store.packages.insert({ id: otherPackage, name: "other", authorId: other.user.id, ...common });
  const image = await stand.store.images.insert({ ...newImage("web", now), state: "READY", dockerfile: "FROM node\n".repeat(300) });
  await stand.store.transaction(async () => {
    for (let index = 0; index < count; index++) {
      const config = { cpu: 0.25 * (1 + (index % 8)), memoryMb: 128 * (1 + (index % 5)), gpu: 0, shmMb: 1, storageGb: 1, onDemand: true };
      await stand.store.containers.insert({
        ...newContainer(image, config, now),
        id: randomUUID(),
        name: `web-${String(index).padStart(5, "0")}`,
        service: `berth-web-${index}`,
        state: STATES[index % STATES.length] ?? "STARTED",
        packageId: index % 2 === 0 ? PACKAGE : otherPackage,
      });
    }
  });
  return { stand, other, base: await listenForBrowsers(t, stand) };
}

const rowName = (index: number) => `web-${String(index).padStart(5, "0")}`;

t.test("rows are searched, grouped, sorted and paged by the server, and counted", async (t) => {
  const { stand, other } = await openMany(t, 40);
  const rows = async (query: string, headers: Record<string, string> = {}) =>
    (await stand.get(`/docker/containers/rows?${query}`, { headers })).json as unknown as {
      total: number;
      groups: Record<string, number>;
      rows: { name: string; cpu: number; mayManage: boolean }[];
    };
  t.match(await rows("limit=3&offset=3"), {
    total: 40,
    groups: { running: 10, sleeping: 20, moving: 0, failed: 10 },
    rows: [3, 4, 5].map((index) => ({ name: rowName(index) })),
  });
  t.match(await rows("search=WEB-0000&limit=1"), { total: 10 });
  t.match(await rows("group=failed&limit=2"), { total: 10, rows: [{ name: rowName(3) }, { name: rowName(7) }] });
  t.match(
    (await rows("sort=cpu&descending=true&limit=5")).rows.map(({ cpu }) => cpu),
    [2, 2, 2, 2, 2],
  );
  t.match(await rows("mine=true"), { total: 20 });
  const bert = await rows("limit=2", { authorization: other.token });
  t.same(
    bert.rows.map(({ mayManage }) => mayManage),
    [false, true],
  );
  t.equal((await stand.get("/docker/containers/rows?sort=nonsense")).status, 400);
  t.ok(JSON.stringify(await rows("limit=200")).length < 300 * 40, "rows are short");
});

for (const [name, options] of [
  ["wide", {}],
  ["phone", { phone: true }],
] as const) {
  t.test(
    `${name}: of ten thousand containers, only the rows in view are in the page; search, sort and group stay in the address and on Back`,
    async (t) => {
      const { base } = await openMany(t, 10_000);
      const { page, signIn, troubles, picture } = await openConsole(t, base, options);
      await signIn(ADMIN_KEY);
      await page.getByRole("link", { name: rowName(0) }).waitFor();
      t.ok((await page.locator("tbody tr").count()) < 100);
      await page.evaluate("scrollTo(0, document.documentElement.scrollHeight)");
      await page.getByRole("link", { name: rowName(9_999) }).waitFor();
      t.ok((await page.locator("tbody tr").count()) < 100);
      await page.evaluate("scrollTo(0, 0)");
      if (name === "wide") {
        // Through the list, so that more rows were in view than the page keeps, and back.
        for (let index = 0; index < 4_500; index += 100) {
          await page.evaluate(`scrollTo(0, document.documentElement.scrollHeight * ${index / 10_000})`);
          await page.getByRole("link", { name: /^web-/ }).first().waitFor();
        }
        await page.evaluate("scrollTo(0, 0)");
        await page.getByRole("link", { name: rowName(0) }).waitFor();
      }

      await page.getByRole("button", { name: /^failed/ }).click();
      await page.getByLabel("Search containers").fill("web-012");
      await page.getByRole("link", { name: rowName(1_203) }).waitFor();
      if (name === "wide") {
        await page.getByRole("button", { name: "Name" }).click();
        await page.getByRole("link", { name: rowName(1_299) }).waitFor();
      }
      await picture(`list-10000-${name}`);
      // On a phone fewer rows fit into the window.
      const inView = name === "wide" ? rowName(1_299) : rowName(1_203);
      const address = page.url();
      t.match(address, /search=web-012/);
      await page.getByRole("link", { name: inView }).click();
      await page.getByRole("heading", { name: inView }).waitFor();
      await page.goBack();
      await page.getByRole("link", { name: inView }).waitFor();
      t.equal(page.url(), address);
      t.equal(await page.getByLabel("Search containers").inputValue(), "web-012");
      await page.getByLabel("Search containers").fill("nothing-like-it");
      await page.getByText("No containers match.").waitFor();

      await page.getByLabel("Search containers").fill("");
      await page.getByRole("button", { name: /^all/ }).click();
      if (name === "wide") await page.getByRole("button", { name: "Name" }).click();
      await page.getByLabel("Mine").check();
      await page.getByRole("link", { name: rowName(1) }).waitFor({ state: "detached" });
      await page.getByRole("link", { name: rowName(2) }).click();
      await page.getByRole("heading", { name: rowName(2) }).waitFor();
      await page.goBack();
      await page.getByRole("link", { name: rowName(2) }).waitFor();
      t.ok(await page.getByLabel("Mine").isChecked());
      t.match(page.url(), /[?&]mine=true/);
      t.equal(await page.getByRole("link", { name: rowName(1) }).count(), 0, "containers of others");
      t.same(troubles, []);
    },
  );
}

for (const [name, options] of [
  ["wide", {}],
  ["phone", { phone: true }],
] as const) {
  t.test(`${name}: selected containers are stopped and removed together, with progress, and after a question`, async (t) => {
    const { stand, base } = await openMany(t, 12);
    const { page, signIn, troubles, picture } = await openConsole(t, base, options);
    await signIn(ADMIN_KEY);
    await page.getByLabel(`Select ${rowName(0)}`).check();
    await page.getByRole("button", { name: "Select all 12" }).click();
    await page.getByText("12 selected").waitFor();
    const bar = page.locator(".bulk");
    const { promise: stopsMayGo, resolve: letGo } = Promise.withResolvers<void>();
    let held = 0;
    await page.route("**/api/docker/containers/*/stop", async (route) => {
      // The first two are answered, the others once the progress was seen.
      if (held++ >= 2) await stopsMayGo;
      await route.continue();
    });
    await bar.getByRole("button", { name: "Stop" }).click();
    await bar.getByText("Stopping 2 of 12").waitFor();
    t.equal(await bar.getByRole("progressbar", { name: "Stopping" }).getAttribute("value"), "2");
    await picture(`list-progress-${name}`);
    letGo();
    await page.getByText("Requested the stop of 12 containers.").waitFor();
    t.equal(stand.commands.filter((command) => command.startsWith("stop ")).length, 12);
    await page.getByLabel(`Select ${rowName(1)}`).check();
    await page.getByLabel(`Select ${rowName(2)}`).check();
    await bar.getByRole("button", { name: "Remove…" }).click();
    await page.getByRole("dialog").getByRole("button", { name: "Cancel" }).click();
    t.equal(stand.commands.filter((command) => command.startsWith("removed ")).length, 0);
    await bar.getByRole("button", { name: "Remove…" }).click();
    await page.getByRole("dialog").getByRole("button", { name: "Remove" }).click();
    await page.getByText("Removed 2 containers.").waitFor();
    await eventually("the rows are gone", async () => ((await page.getByRole("link", { name: /^web-/ }).count()) === 10 ? true : undefined));
    t.same(troubles, []);
  });
}

/** Of a slow line: 1 Mbit/s with 40 ms from end to end and back. */
const SLOW_LINE = { offline: false, latency: 40, downloadThroughput: 125_000, uploadThroughput: 125_000 };

/** What such a line carries in 0.7 s: the round trips and the browser have the rest of the second. */
const MOST_BYTES = 87_500;

t.test("with 1,500 containers, on a line of 1 Mbit/s, the list needs fewer bytes than the line carries in a second", async (t) => {
  const { base } = await openMany(t, 1_500);
  const { page, signIn } = await openConsole(t, base);
  await signIn(ADMIN_KEY);
  await page.getByRole("link", { name: rowName(0) }).waitFor();
  const client = await page.context().newCDPSession(page);
  await client.send("Network.enable");
  await client.send("Network.setCacheDisabled", { cacheDisabled: true });
  await client.send("Network.emulateNetworkConditions", SLOW_LINE);
  let bytes = 0;
  const requests: string[] = [];
  client.on("Network.requestWillBeSent", ({ request }) => requests.push(new URL(request.url).pathname));
  client.on("Network.loadingFinished", ({ encodedDataLength }) => (bytes += encodedDataLength));
  const begun = performance.now();
  await page.reload({ waitUntil: "commit" });
  await page.getByRole("link", { name: rowName(0) }).waitFor();
  const rowsMs = performance.now() - begun;
  const paintMs = await page.evaluate<number>('performance.getEntriesByName("first-contentful-paint")[0].startTime');
  // Only figures: on a machine that runs other tests too, the time is not the line's alone.
  t.comment(`first paint after ${Math.round(paintMs)} ms, the rows after ${Math.round(rowsMs)} ms, ${bytes} bytes`);
  t.ok(bytes > 0 && bytes < MOST_BYTES, `${bytes} bytes`);
  t.same(
    requests.filter((path) => /chart|terminal|audit|settings|orphans|server-page/.test(path)),
    [],
    "no script that the list does not need",
  );
  t.ok(requests.length <= 12, `few requests: ${requests.join(" ")}`);
});

t.test("of two thousand images one page is shown, and the search finds one of another page", async (t) => {
  const stand = await openApiFixture(t);
  const now = Date.now();
  await stand.store.packages.insert({ id: PACKAGE, name: "mine", authorId: stand.admin.id, version: "1.0.0", createdOn: now, updatedOn: now });
  await stand.store.transaction(async () => {
    for (let index = 0; index < 2_000; index++)
      await stand.store.images.insert({ ...newImage(rowName(index), now), id: randomUUID(), state: "READY" });
  });
  const { page, signIn, troubles } = await openConsole(t, await listenForBrowsers(t, stand), { at: "images" });
  await signIn(ADMIN_KEY);
  await page.getByText("1–50 of 2000").waitFor();
  t.equal(await page.locator("tbody tr").count(), 50);
  await page.getByRole("button", { name: "Next" }).click();
  await page.getByRole("link", { name: rowName(50) }).waitFor();
  t.match(page.url(), /page=2/);
  await page.getByLabel("Search images").fill(rowName(1_999));
  await page.getByRole("link", { name: rowName(1_999) }).waitFor();
  t.equal(await page.locator("tbody tr").count(), 1);
  t.same(troubles, []);
});
