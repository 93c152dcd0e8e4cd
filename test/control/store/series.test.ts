import { join } from "node:path";
import t, { type Test } from "tap";
import { MOST_SERIES, newPoint, SERIES_RINGS, type SeriesPoint, SERVER_SERIES } from "../../../control/model/series.ts";
import { openStore } from "../../../control/store/open-store.ts";
import { createStillClock } from "../../fixtures/clock.ts";
import { storeKinds } from "../../fixtures/store-kinds.ts";

const [FINE, MEDIUM, COARSE] = SERIES_RINGS;
const DAY_MS = 86_400_000;
/** The begin of an hour, in 2026. */
const START = 1_790_000_400_000 - (1_790_000_400_000 % COARSE.stepMs);

function point(series: string, part: Partial<SeriesPoint>): SeriesPoint {
  return { ...newPoint(series, 0), ...part };
}

for (const kind of storeKinds(t)) {
  const open = async (t: Test, options: { folder?: string; database?: Awaited<ReturnType<typeof kind.fresh>> } = {}) => {
    const { folder = join(t.testdir(), "data"), database = await kind.fresh() } = options;
    const store = await openStore({ folder, clock: createStillClock(), ...database });
    return { store, folder, database };
  };

  t.test(`${kind.name}: a ring keeps its last intervals, and a restart loses none`, async (t) => {
    const { store, folder, database } = await open(t);
    const last = START + (FINE.length + 9) * FINE.stepMs;
    for (let at = START; at <= last; at += FINE.stepMs)
      await store.series.append(at, [point(SERVER_SERIES, { requests: 1, latency: [0, 2], cpuMs: 5 }), point("a", { requests: 1 })]);
    await store.close();
    const again = await openStore({ folder, clock: createStillClock(), ...database });
    t.teardown(() => again.close());
    const points = await again.series.points([SERVER_SERIES], { from: START, to: last + FINE.stepMs }, FINE.stepMs);
    t.equal(points.length, FINE.length);
    t.equal(points[0]?.at, last - (FINE.length - 1) * FINE.stepMs);
    t.strictSame(points.at(-1), { ...point(SERVER_SERIES, { requests: 1, latency: [0, 2], cpuMs: 5 }), at: last, step: FINE.stepMs });
  });

  t.test(`${kind.name}: an interval that two processes measured is the sum of both`, async (t) => {
    const { store } = await open(t);
    t.teardown(() => store.close());
    await store.series.append(START, [point("a", { requests: 2, latency: [2], memoryBytes: 10 })]);
    await store.series.append(START, [point("a", { requests: 3, latency: [0, 3], memoryBytes: 7 }), point("b", { starts: 1 })]);
    const points = await store.series.points(["a", "b"], { from: START, to: START + FINE.stepMs }, FINE.stepMs);
    t.strictSame(
      points.map(({ series, requests, latency, memoryBytes, starts }) => ({ series, requests, latency, memoryBytes, starts })),
      [
        { series: "a", requests: 5, latency: [2, 3], memoryBytes: 10, starts: 0 },
        { series: "b", requests: 0, latency: [], memoryBytes: undefined, starts: 1 },
      ],
    );
  });

  t.test(`${kind.name}: longer intervals are made of shorter ones, and what no longer one has yet comes from those`, async (t) => {
    const { store } = await open(t);
    t.teardown(() => store.close());
    const end = START + COARSE.stepMs + MEDIUM.stepMs + 2 * FINE.stepMs;
    for (let at = START; at < end; at += FINE.stepMs) {
      await store.series.append(at, [point(SERVER_SERIES, { requests: 1, latency: [1], memoryBytes: at - START })]);
      if ((at + FINE.stepMs) % MEDIUM.stepMs === 0) await store.series.rollUpUntil(at + FINE.stepMs);
    }
    const points = (await store.series.points([SERVER_SERIES], { from: end - 7 * DAY_MS, to: end }, COARSE.stepMs)) as (SeriesPoint & {
      step: number;
    })[];
    t.strictSame(
      points.map(({ at, step, requests, latency }) => ({ at: at - START, step, requests, latency })),
      [
        { at: 0, step: COARSE.stepMs, requests: 360, latency: [360] },
        { at: COARSE.stepMs, step: MEDIUM.stepMs, requests: 30, latency: [30] },
        { at: COARSE.stepMs + MEDIUM.stepMs, step: FINE.stepMs, requests: 1, latency: [1] },
        { at: COARSE.stepMs + MEDIUM.stepMs + FINE.stepMs, step: FINE.stepMs, requests: 1, latency: [1] },
      ],
    );
    t.equal(points[0]?.memoryBytes, COARSE.stepMs - FINE.stepMs, "the highest use counts");
  });

  t.test(`${kind.name}: what an ended process left is rolled up by the next one, and a clock that was set back stops nothing`, async (t) => {
    const { store } = await open(t);
    t.teardown(() => store.close());
    await store.series.append(START, [point("a", { requests: 4 })]);
    await store.series.rollUpUntil(START + 2 * MEDIUM.stepMs);
    const medium = () => store.series.points(["a"], { from: START - DAY_MS, to: START + DAY_MS / 2 }, MEDIUM.stepMs);
    t.strictSame(
      (await medium()).map(({ at, requests }) => [at - START, requests]),
      [[0, 4]],
    );
    await store.series.append(START - COARSE.stepMs, [point("a", { requests: 6 })]);
    await store.series.rollUpUntil(START - COARSE.stepMs + MEDIUM.stepMs);
    t.strictSame(
      (await medium()).map(({ at, requests }) => [at - START, requests]),
      [[-COARSE.stepMs, 6]],
    );
  });

  t.test(`${kind.name}: an interval has a bounded number of containers: those with the most requests; sums name each once`, async (t) => {
    const { store } = await open(t);
    t.teardown(() => store.close());
    const many = Array.from({ length: MOST_SERIES + 50 }, (_, index) => point(`c${index}`, { requests: index, cpuMs: 1 }));
    await store.series.append(START, [point(SERVER_SERIES, { requests: 7 }), ...many]);
    await store.series.append(START + FINE.stepMs, [point("c249", { requests: 1, slowestStartMs: 30, starts: 1 })]);
    const sums = await store.series.sums({ from: START, to: START + 2 * FINE.stepMs });
    t.equal(sums.length, MOST_SERIES);
    t.notOk(sums.some(({ series }) => series === "c49" || series === SERVER_SERIES));
    t.strictSame(
      sums.find(({ series }) => series === "c249"),
      {
        series: "c249",
        requests: 250,
        errors: 0,
        starts: 1,
        failedStarts: 0,
        slowestStartMs: 30,
        waits: 0,
        waitMs: 0,
        runMs: 0,
        runMbSeconds: 0,
        cpuMs: 1,
        memoryBytes: null,
      },
    );
  });
}
