import t from "tap";
import type { OverviewJson, SeriesJson, SuggestionJson, WarmUpJson } from "../../../control/api/schemas-series.ts";
import { newPoint, SERIES_RINGS, SERVER_SERIES } from "../../../control/model/series.ts";
import { isOfficeHour, storeWeeksOfUse } from "../../fixtures/weeks-of-use.ts";
import { newContainer, newImage } from "../lifecycle/lifecycle-fixture.ts";
import { type ApiFixture, openApiFixture } from "./fixtures/open-api-fixture.ts";

const HOUR_MS = 3_600_000;
const CONFIG = { cpu: 1, memoryMb: 512, gpu: 0, shmMb: 1, storageGb: 1, onDemand: true, shutdownTimeoutMinutes: 5 };

/** A sleeping container of `authorId`, created long ago. */
async function addContainer({ store }: ApiFixture, name: string, authorId: string) {
  const owner = await store.packages.insert({ id: crypto.randomUUID(), name, version: "1.0.0", authorId, createdOn: 1, updatedOn: 1 });
  const image = await store.images.insert({ ...newImage(name, 1), id: crypto.randomUUID(), packageId: owner.id, state: "READY" });
  const container = { ...newContainer(image, CONFIG, 1), id: crypto.randomUUID(), packageId: owner.id, name, service: `berth-${name}` };
  return store.containers.insert(container);
}

async function opened(t: import("tap").Test) {
  const server = await openApiFixture(t);
  const { store, addUser, warmUps } = server;
  const anna = await addUser("anna");
  const own = await addContainer(server, "annas", anna.user.id);
  const other = await addContainer(server, "admins", server.admin.id);
  const rare = await addContainer(server, "rare", server.admin.id);
  for (const { id } of [own, other]) await storeWeeksOfUse(store, id, Date.now(), isOfficeHour);
  await warmUps.learn();
  const headers = { authorization: anna.token, "content-type": "application/json" };
  const asAnna = (path: string) => server.call(path, { headers });
  const put = (id: string, body: unknown) => server.call(`/docker/containers/${id}/warm-up`, { method: "PUT", headers, body: JSON.stringify(body) });
  return { ...server, own, other, rare, asAnna, put };
}

t.test("a manager sees the usual hours of a container with what they would have saved, chooses them, and changes that again", async (t) => {
  const { store, own, other, rare, asAnna, get, put } = await opened(t);
  const at = `/docker/containers/${own.id}/warm-up`;
  const suggested = (await asAnna(at)).json as unknown as WarmUpJson;
  t.match(suggested, { mode: "suggest", zone: "UTC", chosen: null, isSuggested: true });
  t.strictSame(suggested.usual, {
    hours: ["Mon-Fri 08:00-17:00 UTC"],
    weeks: 4,
    starts: 360,
    waitSeconds: 3_600,
    extraHours: 150,
    memoryHours: 75,
    misses: 0,
  });
  t.equal(
    suggested.says,
    "It was used on Mon-Fri 08:00-17:00 UTC in at least 3 of the last 4 weeks. Kept warm then, it would have saved 360 cold starts (requests waited 3600 s), and run 150 hours longer (75 GiB-hours of memory) in these weeks.",
  );
  t.match((await get(`/docker/containers/${rare.id}/warm-up`)).json, { isSuggested: false, says: /No hour of the week is usual/ });

  const chosen = (await put(own.id, { hours: suggested.usual.hours })).json as unknown as WarmUpJson;
  t.match(chosen, { chosen: { hours: suggested.usual.hours, by: "user", login: "anna" }, isSuggested: false });
  t.match((await store.containers.find(own.id))?.warmUp, { hours: suggested.usual.hours, by: "user" });
  t.match((await put(own.id, { hours: [] })).json, { chosen: { hours: { length: 0 } }, isSuggested: false });
  t.match((await put(own.id, { hours: null })).json, { chosen: null, isSuggested: true });
  await store.containers.update(own.id, { warmUp: { hours: [], by: "auto", since: 1 } });
  t.match((await asAnna(at)).json, { chosen: null, isSuggested: true }, "BERTH_WARM_UP=auto kept it warm before");
  const audited = (await get("/admin/audit?action=warmUpChosen")).json as unknown as { login: string; target: string }[];
  t.match(audited, [{ login: "anna", target: `annas (${own.id})` }, {}, {}]);

  for (const body of [{ hours: ["Monday 8-17"] }, {}, { hours: [7] }, { hours: Array(101).fill("Mon 08:00-17:00") }])
    t.equal((await put(own.id, body)).status, 400, JSON.stringify(body).slice(0, 60));
  t.equal((await put(other.id, { hours: [] })).status, 403);
  t.equal((await asAnna(`/docker/containers/${other.id}/warm-up`)).status, 403);
  t.equal((await asAnna(`/docker/containers/${crypto.randomUUID()}/warm-up`)).status, 404);
});

t.test("suggestions are of the containers that the caller may manage, without those for which a user has decided", async (t) => {
  const { own, asAnna, get, put, call } = await opened(t);
  const names = (response: { json: unknown }) => (response.json as SuggestionJson[]).map(({ name }) => name).toSorted();
  t.strictSame(names(await get("/docker/suggestions")), ["admins", "annas"]);
  t.strictSame(names(await asAnna("/docker/suggestions")), ["annas"]);
  t.equal((await call("/docker/suggestions")).status, 401);
  await put(own.id, { hours: [] });
  t.strictSame(names(await asAnna("/docker/suggestions")), []);
  t.strictSame(names(await get("/docker/suggestions")), ["admins"]);
});

t.test("series show what sleeping saved and what cold starts cost: of a container, of the server, and of one's own", async (t) => {
  const { store, own, other, asAnna, get } = await opened(t);
  const [{ stepMs }] = SERIES_RINGS;
  const last = Math.floor(Date.now() / stepMs) * stepMs - 2 * stepMs;
  const ran = { runMs: stepMs, runMbSeconds: (512 * stepMs) / 1_000 };
  const point = (series: string, part: object) => ({ ...newPoint(series, 0), ...part });
  await store.series.append(last, [
    point(SERVER_SERIES, { requests: 3, starts: 2, waits: 3, waitMs: 9_000, runMs: 2 * ran.runMs, runMbSeconds: 2 * ran.runMbSeconds }),
    point(own.id, { requests: 2, starts: 1, waits: 2, waitMs: 8_000, ...ran }),
    point(other.id, { requests: 1, starts: 1, waits: 1, waitMs: 1_000, ...ran }),
  ]);
  for (const [range, hours] of [
    ["15m", 0.25],
    ["1h", 1],
    ["24h", 24],
    ["7d", 168],
  ] as const) {
    const { totals, savings, waitSeconds } = (await asAnna(`/docker/containers/${own.id}/series?range=${range}`)).json as unknown as SeriesJson;
    t.match(totals, { waits: 2, waitSeconds: 8 });
    t.equal(
      waitSeconds.reduce((sum, one) => sum + one, 0),
      8,
    );
    t.equal(savings.runHours, 0.003);
    // The last interval has begun.
    const most = hours - stepMs / HOUR_MS;
    t.ok(savings.sleepHours <= most + 0.01 && savings.sleepHours > most - 1, `${range}: ${savings.sleepHours} hours`);
    t.ok(Math.abs(savings.sleepMemoryHours - savings.sleepHours / 2) < 0.01, `${range}: ${savings.sleepMemoryHours} of 1 GiB`);
  }
  const overview = (await get("/docker/overview?range=1h")).json as unknown as OverviewJson;
  t.match(overview.series.totals, { waits: 3, waitSeconds: 9 });
  t.ok(overview.series.savings.sleepHours > 2.5, "three containers slept for an hour");
  t.strictSame(
    overview.waited.map(({ name, waits, waitSeconds }) => [name, waits, waitSeconds]),
    [
      ["annas", 2, 8],
      ["admins", 1, 1],
    ],
  );
  const annas = (await asAnna("/docker/overview?range=1h")).json as unknown as OverviewJson;
  t.match(annas.series.totals, { waits: 2, waitSeconds: 8 });
  t.ok(annas.series.savings.sleepHours > 0.9 && annas.series.savings.sleepHours <= 1);
});
