import t from "tap";
import { ADMIN_KEY } from "../api/fixtures/open-api-fixture.ts";
import { openMeasured } from "./fixtures/measured.ts";
import { openConsole } from "./fixtures/open-console.ts";

const FITS = "document.documentElement.scrollWidth <= document.documentElement.clientWidth";

t.test("the overview shows what runs, fails and uses most, with charts, light and dark, wide and narrow", async (t) => {
  const { base } = await openMeasured(t);
  for (const [name, options] of [
    ["light", {}],
    ["dark", { dark: true }],
    ["phone", { phone: true }],
    ["phone-dark", { phone: true, dark: true }],
  ] as const) {
    const { page, troubles, signIn, picture, openSection } = await openConsole(t, base, options);
    await signIn(ADMIN_KEY);
    await openSection("Overview");
    await page.getByRole("heading", { name: "Overview", level: 1 }).waitFor();
    for (const title of ["Requests per second", "Latency", "Cold starts", "Memory", "CPU", "Open requests and sockets"])
      await page
        .getByRole("img", { name: new RegExp(`^${title}: `) })
        .locator("canvas")
        .waitFor();
    const failing = page.getByRole("region", { name: "Failing" });
    t.match(await failing.textContent(), /notebook.*CONTAINER_CRASHED.*exit code 1/);
    const most = page.getByRole("region", { name: "Most requests" });
    t.match(await most.getByRole("row").nth(1).textContent(), /^molecule-docking/);
    t.match(await page.getByRole("region", { name: "Slowest starts" }).textContent(), /report-renderer900 ms/);
    t.ok(await page.evaluate<boolean>(FITS), `${name}: nothing sticks out to the side`);
    await picture(`overview-${name}`);
    t.same(troubles, [], name);
  }
});

t.test("the range is in the address, and a chart's legend follows the arrow keys", async (t) => {
  const { base } = await openMeasured(t);
  const { page, signIn, troubles } = await openConsole(t, base);
  await signIn(ADMIN_KEY);
  await page.getByRole("link", { name: "Overview" }).click();
  const range = page.getByRole("group", { name: "Time range" });
  const pressed = range.locator('[aria-pressed="true"]');
  t.equal(await pressed.textContent(), "1 h");
  await range.getByRole("button", { name: "15 min" }).click();
  await page.waitForURL(/#\/overview\?range=15m$/);
  t.equal(await pressed.textContent(), "15 min");
  await page.reload();
  await page
    .getByRole("img", { name: /^Memory: / })
    .locator("canvas")
    .waitFor();
  t.equal(await pressed.textContent(), "15 min", "a reload keeps it");

  const chart = page.locator("figure", { has: page.getByRole("heading", { name: "Memory", level: 2 }) });
  await chart.getByRole("img").focus();
  t.equal(await chart.locator("figcaption time").textContent(), "");
  await page.keyboard.press("Home");
  await chart.locator("figcaption time", { hasText: /\d/ }).waitFor();
  t.match(await chart.locator(".chart-legend").textContent(), /Used \d.*Reserved 768\.0 MiB/);
  await page.keyboard.press("Tab");
  await chart.locator("figcaption time", { hasText: /^$/ }).waitFor({ state: "attached" });
  t.same(troubles, []);
});

t.test("a container's page has its metrics, and its last requests without queries", async (t) => {
  const { base, containers } = await openMeasured(t);
  const [first, , , idle] = containers;
  for (const [name, options] of [
    ["light", {}],
    ["phone-dark", { phone: true, dark: true }],
  ] as const) {
    const { page, signIn, troubles, picture } = await openConsole(t, base, options);
    await signIn(ADMIN_KEY);
    await page.getByRole("link", { name: "molecule-docking", exact: true }).first().click();
    await page.getByRole("link", { name: "Metrics" }).click();
    for (const title of ["CPU", "Memory", "Requests per second", "Latency", "Cold starts"])
      await page
        .getByRole("img", { name: new RegExp(`^${title}: `) })
        .locator("canvas")
        .waitFor();
    t.ok(await page.evaluate<boolean>(FITS), `${name}: nothing sticks out to the side`);
    await picture(`metrics-${name}`);
    await page.goto(`${base}/#/containers/${idle?.id}/metrics`);
    await page.getByText("No requests in this time.").first().waitFor();
    await page.goto(`${base}/#/containers/${first?.id}/requests`);
    await page.getByText(/No finished requests since the gateways started/).waitFor();
    t.same(troubles, []);
  }
});

t.test("the last requests are listed with their status, duration and user; the failed ones alone on demand", async (t) => {
  const { base, server, containers } = await openMeasured(t);
  const id = containers[0]?.id ?? "";
  const now = Date.now();
  server.recent.set(id, [
    { at: now - 1_000, method: "POST", path: `/api/docker/containers/proxy/${id}/predict`, status: 200, ms: 12.4, login: "anna" },
    { at: now - 2_000, method: "GET", path: `/api/docker/containers/proxy/${id}/models/42`, status: 500, ms: 1_830, login: "bert" },
    { at: now - 3_000, method: "GET", path: `/api/docker/containers/proxy/${id}`, status: 0, ms: 3.1, login: "anna" },
  ]);
  for (const [name, options] of [
    ["light", {}],
    ["phone", { phone: true }],
  ] as const) {
    const { page, signIn, troubles, picture } = await openConsole(t, base, options);
    await signIn(ADMIN_KEY);
    await page.getByRole("link", { name: "molecule-docking", exact: true }).first().click();
    await page.getByRole("link", { name: "Requests" }).click();
    const rows = page.locator("tbody tr");
    await page.getByText("/predict", { exact: true }).waitFor();
    t.equal(await rows.count(), 3);
    t.match(await rows.nth(0).textContent(), /POST\/predict20012\.4 msanna|POST\/predict20012 msanna/);
    t.ok(await page.evaluate<boolean>(FITS), `${name}: nothing sticks out to the side`);
    await picture(`requests-${name}`);
    await page.getByRole("button", { name: /^failed/ }).click();
    await rows.nth(2).waitFor({ state: "detached" });
    t.equal(await rows.count(), 2);
    t.same(troubles, []);
  }
});
