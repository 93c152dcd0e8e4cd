import t from "tap";
import { newPoint, SERIES_RINGS, type SeriesPoint, SERVER_SERIES } from "../../../control/model/series.ts";
import { newContainer, newImage } from "../lifecycle/lifecycle-fixture.ts";
import { openApiFixture, type ApiFixture } from "./fixtures/open-api-fixture.ts";
import type { OverviewJson, SeriesJson } from "../../../control/api/schemas-series.ts";

const [{ stepMs }] = SERIES_RINGS;
const CONFIG = { cpu: 1, memoryMb: 128, gpu: 0, shmMb: 1, storageGb: 1, onDemand: true };

const at = (part: Partial<SeriesPoint> & { series: string }): SeriesPoint => ({ ...newPoint(part.series, 0), ...part });

/** A package of `login` with one container, which failed. */
async function addContainer({ store }: ApiFixture, name: string, authorId: string) {
  const now = Date.now();
  const owner = await store.packages.insert({ id: crypto.randomUUID(), name, version: "1.0.0", authorId, createdOn: now, updatedOn: now });
  const image = await store.images.insert({ ...newImage(name, now), id: crypto.randomUUID(), packageId: owner.id, state: "READY" });
  const fault = { code: "CONTAINER_CRASHED", message: `${name} ended with code 1.` } as const;
  return store.containers.insert({
    ...newContainer(image, CONFIG, now),
    id: crypto.randomUUID(),
    packageId: owner.id,
    name,
    service: `berth-${name}`,
    state: "ERROR",
    fault,
  });
}

async function opened(t: import("tap").Test) {
  const server = await openApiFixture(t);
  const { store, addUser } = server;
  const anna = await addUser("anna");
  const annaId = (await store.users.byLogin("anna"))?.id ?? "";
  const own = await addContainer(server, "annas", annaId);
  const other = await addContainer(server, "admins", server.admin.id);
  const last = Math.floor(Date.now() / stepMs) * stepMs - 2 * stepMs;
  await store.series.append(last, [
    at({ series: SERVER_SERIES, requests: 30, errors: 3, latency: [0, 0, 30], starts: 1, startTimes: [0, 0, 1], memoryBytes: 3_000, cpuMs: 5_000 }),
    at({ series: own.id, requests: 10, errors: 1, latency: [0, 0, 10], starts: 1, startTimes: [0, 0, 1], slowestStartMs: 240, memoryBytes: 1_000 }),
    at({ series: other.id, requests: 20, errors: 2, latency: [0, 0, 20], memoryBytes: 2_000 }),
  ]);
  const asAnna = (path: string) => server.call(path, { headers: { authorization: anna.token } });
  return { ...server, own, other, last, asAnna };
}

t.test("the overview of an administrator is of the server, that of another user of the containers that the user may manage", async (t) => {
  const { get, asAnna, own, other } = await opened(t);
  const server = (await get("/docker/overview?range=15m")).json as unknown as OverviewJson;
  t.equal(server.scope, "server");
  t.match(server.series.totals, { requests: 30, errors: 3, starts: 1, failedStarts: 0 });
  t.match(server.containers, { error: 2 });
  t.strictSame(
    server.most.map(({ id, requests }) => [id, requests]),
    [
      [other.id, 20],
      [own.id, 10],
    ],
  );
  t.strictSame(
    server.slowest.map(({ name, slowestStart }) => [name, slowestStart]),
    [["annas", 240]],
  );
  t.strictSame(server.failing.map(({ name }) => name).toSorted(), ["admins", "annas"]);

  const annas = (await asAnna("/docker/overview")).json as unknown as OverviewJson;
  t.equal(annas.scope, "own");
  t.match(annas.series.totals, { requests: 10, errors: 1 });
  t.strictSame(
    [annas.most, annas.largest, annas.slowest, annas.failing].map((rows) => rows.map(({ name }) => name)),
    [["annas"], ["annas"], ["annas"], ["annas"]],
  );
  t.strictSame(annas.containers, { error: 1 });
});

t.test("the series of a container has as many values as times, each in its interval, whatever the range", async (t) => {
  const { get, asAnna, own, other, last, call } = await opened(t);
  for (const [range, step] of [
    ["15m", 10],
    ["1h", 30],
    ["24h", 300],
    ["7d", 3_600],
  ] as const) {
    const series = (await asAnna(`/docker/containers/${own.id}/series?range=${range}`)).json as unknown as SeriesJson;
    t.equal(series.step, step);
    for (const values of [series.requests, series.latencyP95, series.cpu, series.memory, series.memoryReserved, series.starts])
      t.equal(values.length, series.time.length, range);
    const index = series.time.findIndex((time) => time * 1_000 <= last && last < (time + step) * 1_000);
    t.ok((series.requests[index] ?? 0) > 0, `${range}: the requests are in their interval`);
    t.equal(series.requests.filter((value) => value > 0).length, 1);
    t.equal(series.memory[index], 1_000);
    t.ok((series.latencyP95[index] ?? 0) > 2.5 && (series.latencyP95[index] ?? 0) <= 5);
  }
  t.equal((await asAnna(`/docker/containers/${other.id}/series`)).status, 403);
  t.equal((await asAnna(`/docker/containers/${other.id}/requests`)).status, 403);
  t.equal((await get(`/docker/containers/${own.id}/series?range=2h`)).status, 400);
  t.equal((await call("/docker/overview")).status, 401);
  t.same((await asAnna(`/docker/containers/${own.id}/requests`)).json, []);
});

t.test("without measurements the overview is empty, not an error", async (t) => {
  const { get } = await openApiFixture(t);
  const overview = (await get("/docker/overview?range=7d")).json as unknown as OverviewJson;
  t.match(overview.series.totals, { requests: 0, latencyMedian: null, startP95: null });
  t.equal(overview.series.time.length, 168);
  t.strictSame([overview.most, overview.largest, overview.slowest, overview.failing], [[], [], [], []]);
});
