import t from "tap";
import { createSeriesRecorder } from "../../../control/lifecycle/record-series.ts";
import { createWarmUps } from "../../../control/lifecycle/warm-up.ts";
import { SERVER_SERIES } from "../../../control/model/series.ts";
import type { Store } from "../../../control/store/open-store.ts";
import { Fault } from "../../../lib/fault.ts";
import { openLog } from "../../../lib/log.ts";
import { eventually } from "../../fixtures/eventually.ts";
import { openLifecycleFixture } from "./lifecycle-fixture.ts";

const HOUR = 3_600_000;
const log = openLog({ level: "silent", name: "test" });
const away = async () => {
  throw new Fault("STORE_UNAVAILABLE", "The database does not answer.");
};

for (const [what, spoil] of [
  ["read", ({ containers, series }: Store) => ({ containers: { ...containers, running: away }, series })],
  ["written", ({ containers, series }: Store) => ({ containers, series: { ...series, append: away } })],
] as const)
  t.test(`what was counted while the store could not be ${what} is stored later, and once`, async (t) => {
    const stand = await openLifecycleFixture(t);
    const { id } = await stand.publish({});
    const store = stand.store();
    const whole = { containers: store.containers, series: store.series };
    const current = { ...whole, ...spoil(store) };
    const recorder = createSeriesRecorder({ store: current, lifecycle: stand.lifecycle(), driver: {}, clock: stand.clock, log });
    t.teardown(() => recorder.close());
    const from = stand.clock.now();
    const count = (requests: number) =>
      recorder.countTraffic([{ id, open: 0, streams: 0, lastActive: stand.clock.now(), traffic: { requests, errors: 1, latency: [requests] } }]);
    const stored = async () => {
      const points = await store.series.points([SERVER_SERIES], { from: from - HOUR, to: from + HOUR }, 10_000);
      return points.reduce((sum, point) => ({ requests: sum.requests + point.requests, errors: sum.errors + point.errors }), {
        requests: 0,
        errors: 0,
      });
    };
    recorder.start();
    count(3);
    await stand.clock.advance(20_000);
    t.same(await stored(), { requests: 0, errors: 0 });
    count(4);
    await stand.clock.advance(10_000);
    Object.assign(current, whole);
    await stand.clock.advance(10_000);
    await eventually("it is stored", async () => (await stored()).requests > 0);
    t.same(await stored(), { requests: 7, errors: 2 });
    await stand.clock.advance(20_000);
    t.same(await stored(), { requests: 7, errors: 2 });
  });

t.test("an hour of use that could not be stored is stored with the next, and once", async (t) => {
  const stand = await openLifecycleFixture(t);
  const { id } = await stand.publish({});
  const store = stand.store();
  const current = { ...store };
  const options = { mode: "suggest", zone: "UTC", containers: 10, memoryPercent: 25 } as const;
  const { hours } = createWarmUps({ store: current, lifecycle: stand.lifecycle(), driver: {}, clock: stand.clock, log, options });
  const begin = stand.clock.now();
  hours?.used(id, begin, 4_000);
  hours?.ran(id, 10_000, begin);
  await stand.clock.advance(HOUR);
  current.useWeeks = { ...store.useWeeks, add: away };
  await t.rejects(async () => hours?.turn(), { code: "STORE_UNAVAILABLE" });
  hours?.ran(id, 5_000, begin);
  current.useWeeks = store.useWeeks;
  await hours?.turn();
  await hours?.turn();
  t.match((await store.useWeeks.of([id], 0)).get(id), [{ used: true, waitMs: 4_000, runMs: 15_000 }]);
});

t.test("an interval that a clock goes through twice has no more run time than has passed", async (t) => {
  const stand = await openLifecycleFixture(t);
  const { id } = await stand.publish({});
  await stand.start(id);
  const store = stand.store();
  const recorder = createSeriesRecorder({ store, lifecycle: stand.lifecycle(), driver: {}, clock: stand.clock, log });
  t.teardown(() => recorder.close());
  await stand.clock.advance(10_000 - (stand.clock.now() % 10_000));
  recorder.start();
  await stand.clock.advance(5_000);
  // As NTP does.
  stand.clock.jump(-1_000);
  await stand.clock.advance(5_000);
  await stand.clock.advance(1_000);
  const end = stand.clock.now();
  const ranMs = async () => (await store.series.sums({ from: end - HOUR, to: end })).find(({ series }) => series === id)?.runMs;
  await eventually("both parts are stored", async () => ((await ranMs()) ?? 0) > 10_000);
  t.equal(await ranMs(), 11_000);
});
