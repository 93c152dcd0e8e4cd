import t, { type Test } from "tap";
import { newPoint, SERIES_RINGS, type SeriesPoint, SERVER_SERIES } from "../../../control/model/series.ts";
import { ADMIN_KEY, openApiFixture } from "../api/fixtures/open-api-fixture.ts";
import { newContainer, newImage, PACKAGE } from "../lifecycle/lifecycle-fixture.ts";
import { listenForBrowsers } from "./fixtures/listen-for-browsers.ts";
import { openConsole } from "./fixtures/open-console.ts";

const [{ stepMs }] = SERIES_RINGS;
const MEBIBYTE = 1_048_576;
const CONFIG = { cpu: 1, memoryMb: 256, gpu: 0, shmMb: 1, storageGb: 1, onDemand: true };
const NAMES = ["molecule-docking", "chem-search", "report-renderer", "admet-prediction-of-small-molecules-v2", "notebook"];

/** Containers with an hour of measurements; the last one failed. */
async function openMeasured(t: Test) {
  const server = await openApiFixture(t);
  const { store } = server;
  const now = Date.now();
  await store.packages.insert({ id: PACKAGE, name: "demo", version: "1.0.0", authorId: server.admin.id, createdOn: now, updatedOn: now });
  const image = await store.images.insert({ ...newImage("demo", now), state: "READY" });
  const fault = { code: "CONTAINER_CRASHED", message: "It ended before it was ready, exit code 1. Read its last lines." } as const;
  const containers = [];
  for (const [index, name] of NAMES.entries()) {
    const isLast = index === NAMES.length - 1;
    containers.push(
      await store.containers.insert({
        ...newContainer(image, CONFIG, now - 60_000),
        name,
        state: isLast ? "ERROR" : index < 3 ? "STARTED" : "SYSTEM_STOPPED",
        ...(isLast ? { fault } : {}),
      }),
    );
  }
  const end = Math.floor(now / stepMs) * stepMs;
  for (let at = end - 3_600_000; at < end; at += stepMs) {
    const turn = (at - end) / stepMs;
    const wave = 1 + Math.sin(turn / 20);
    const points = containers.slice(0, 3).map(({ id }, index): SeriesPoint => {
      const requests = Math.round(wave * 20 * (3 - index));
      const isStart = turn % 60 === -index;
      return {
        ...newPoint(id, at),
        requests,
        errors: turn % 25 === 0 ? 4 : 0,
        latency: [
          0,
          0,
          Math.round(requests * 0.7),
          Math.round(requests * 0.2),
          0,
          0,
          requests - Math.round(requests * 0.7) - Math.round(requests * 0.2),
        ],
        starts: isStart ? 1 : 0,
        startTimes: isStart ? [0, 0, 0, 0, 1] : [],
        slowestStartMs: isStart ? 700 + 100 * index : 0,
        connections: Math.round(wave * 3),
        cpuMs: Math.round(wave * 900),
        memoryBytes: Math.round((90 + 20 * wave) * MEBIBYTE),
        reservedMillicores: 1_000,
        reservedBytes: 256 * MEBIBYTE,
      };
    });
    const sum = newPoint(SERVER_SERIES, at);
    for (const one of points) {
      for (const key of ["requests", "errors", "starts", "connections", "reservedMillicores", "reservedBytes"] as const) sum[key] += one[key];
      sum.latency = one.latency.map((count, index) => count + (sum.latency[index] ?? 0));
      if (one.startTimes.length > 0) sum.startTimes = one.startTimes;
      sum.cpuMs = (sum.cpuMs ?? 0) + (one.cpuMs ?? 0);
      sum.memoryBytes = (sum.memoryBytes ?? 0) + (one.memoryBytes ?? 0);
    }
    await store.series.append(at, [sum, ...points]);
  }
  return { server, containers, base: await listenForBrowsers(t, server) };
}

const FITS = "document.documentElement.scrollWidth <= document.documentElement.clientWidth";

t.test("the overview shows what runs, fails and uses most, with charts, light and dark, wide and narrow", async (t) => {
  const { base } = await openMeasured(t);
  for (const [name, options] of [
    ["light", {}],
    ["dark", { dark: true }],
    ["phone", { phone: true }],
    ["phone-dark", { phone: true, dark: true }],
  ] as const) {
    const { page, troubles, signIn, picture } = await openConsole(t, base, options);
    await signIn(ADMIN_KEY);
    await page.getByRole("link", { name: "Overview" }).click();
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
