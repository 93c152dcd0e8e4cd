import { sql } from "kysely";
import { addInterval, beginOf, MOST_SERIES, newPoint, SERIES_RINGS, type SeriesPoint, SERVER_SERIES } from "../model/series.ts";
import { createEntityTable } from "./entity-table.ts";
import type { Queries } from "./queries.ts";

/** What one container used in a time. */
export type SeriesSum = Pick<
  SeriesPoint,
  "series" | "requests" | "errors" | "starts" | "failedStarts" | "slowestStartMs" | "waits" | "waitMs" | "runMs" | "runMbSeconds"
> & {
  cpuMs: number | null;
  memoryBytes: number | null;
};

type TimeSpan = { from: number; to: number };
type RingSpan = TimeSpan & { step: number };

export type Series = ReturnType<typeof createSeries>;

/**
 * Measurements over time, in rings of a fixed size: with each point the ring's oldest points are removed. Each interval has at most `MOST_SERIES` containers, so the
 * table has at most 165,000 rows.
 */
export function createSeries(queries: Queries) {
  const { builder, database, dialect, enqueue, select } = queries;
  const table = createEntityTable(queries, "series_points", "series");
  // A point of a later time is from before the clock was set back.
  const removeOutside = enqueue((values: RingSpan) =>
    builder
      .deleteFrom("series_points")
      .where("step", "=", values.step)
      .where((of) => of.or([of("at", "<", values.from), of("at", ">=", values.to)])),
  );
  const within = table.list((query, values: RingSpan & { series: string }) =>
    query
      .where("step", "=", values.step)
      .where("at", ">=", values.from)
      .where("at", "<", values.to)
      .where("series", "in", dialect.elements(values.series))
      .orderBy("at"),
  );
  const atOnce = table.list((query, values: { step: number; at: number }) => query.where("step", "=", values.step).where("at", "=", values.at));
  const times = select((values: RingSpan) =>
    builder
      .selectFrom("series_points")
      .select("at")
      .distinct()
      .where("step", "=", values.step)
      .where("at", ">=", values.from)
      .where("at", "<", values.to)
      .orderBy("at"),
  );
  const newest = select((values: { step: number }) =>
    builder
      .selectFrom("series_points")
      .select((of) => of.fn.max("at").as("at"))
      .where("step", "=", values.step),
  );
  const sums = select((values: RingSpan) =>
    builder
      .selectFrom("series_points")
      .select([
        "series",
        sql<number>`cast(sum(requests) as bigint)`.as("requests"),
        sql<number>`cast(sum(errors) as bigint)`.as("errors"),
        sql<number>`cast(sum(starts) as bigint)`.as("starts"),
        sql<number>`cast(sum(failed_starts) as bigint)`.as("failedStarts"),
        sql<number>`max(slowest_start_ms)`.as("slowestStartMs"),
        sql<number>`cast(sum(waits) as bigint)`.as("waits"),
        sql<number>`cast(sum(wait_ms) as bigint)`.as("waitMs"),
        sql<number>`cast(sum(run_ms) as bigint)`.as("runMs"),
        sql<number>`cast(sum(run_mb_seconds) as bigint)`.as("runMbSeconds"),
        sql<number | null>`cast(sum(cpu_ms) as bigint)`.as("cpuMs"),
        sql<number | null>`max(memory_bytes)`.as("memoryBytes"),
      ])
      .where("step", "=", values.step)
      .where("at", ">=", values.from)
      .where("at", "<", values.to)
      .where("series", "<>", SERVER_SERIES)
      .groupBy("series"),
  );

  /** Replaces the interval of a ring, in one transaction. */
  const write = (step: number, length: number, at: number, points: readonly SeriesPoint[]) =>
    database.transaction(async () => {
      await removeOutside({ step, from: at - (length - 1) * step, to: at });
      for (const point of points) await table.enqueueInsert({ ...point, at, step });
    });

  /** Makes the point of a coarser ring from those of the finer one. */
  const rollUp = async (finerStep: number, { stepMs, length }: (typeof SERIES_RINGS)[number], at: number) => {
    const sum = new Map<string, SeriesPoint>();
    for (const { at: finer } of await times({ step: finerStep, from: at, to: at + stepMs })) {
      for (const part of await atOnce({ step: finerStep, at: finer })) {
        const point = sum.get(part.series) ?? newPoint(part.series, at);
        sum.set(part.series, point);
        addInterval(point, part);
      }
      // Each time has up to `MOST_SERIES` points, and a request must not wait for thirty of them.
      await new Promise(setImmediate);
    }
    if (sum.size > 0) await write(stepMs, length, at, mostUsed([...sum.values()]));
  };

  return {
    /** The finest interval that ended now. It is added to what an earlier process stored of the same interval. */
    append: (at: number, points: readonly SeriesPoint[]) =>
      database.transaction(async () => {
        const { stepMs, length } = SERIES_RINGS[0];
        const before = await atOnce({ step: stepMs, at });
        await write(stepMs, length, at, before.length === 0 ? mostUsed(points) : mostUsed(added(before, points)));
      }),
    /** Fills the coarser rings with all intervals that had ended at `now` (epoch ms). It continues where an earlier process stopped. */
    rollUpUntil: async (now: number) => {
      for (const [index, ring] of SERIES_RINGS.entries()) {
        const finer = SERIES_RINGS[index - 1];
        if (!finer) continue;
        const last = (await newest({ step: ring.stepMs }))[0]?.at ?? 0;
        const oldest = beginOf(now - finer.stepMs * finer.length, ring.stepMs);
        // One of a later time is from before the clock was set back.
        const from = last > now ? oldest : Math.max(oldest, last + ring.stepMs);
        for (let at = from; at + ring.stepMs <= now; at += ring.stepMs) await rollUp(finer.stepMs, ring, at);
      }
    },
    /** The end of the newest interval, epoch ms; 0 if there is none. */
    end: async () => {
      const [last] = await newest({ step: SERIES_RINGS[0].stepMs });
      return typeof last?.at === "number" ? last.at + SERIES_RINGS[0].stepMs : 0;
    },
    /** Points of these series, the oldest first: of the longest intervals, and of shorter ones where a longer one has not ended. */
    points: async (series: readonly string[], span: TimeSpan, coarsestMs: number) => {
      const names = JSON.stringify(series);
      const points: SeriesPoint[] = [];
      for (const part of await spansOf(newest, span, coarsestMs)) points.push(...(await within({ ...part, series: names })));
      return points;
    },
    /** What each container used in this time, in no order. */
    sums: async (span: TimeSpan): Promise<SeriesSum[]> => {
      const sum = new Map<string, SeriesSum>();
      for (const part of await spansOf(newest, span, Number.POSITIVE_INFINITY)) {
        for (const row of await sums(part)) {
          const before = sum.get(row.series);
          sum.set(row.series, before ? addSums(before, row) : row);
        }
      }
      return [...sum.values()];
    },
    removeOf: table.remove,
  };
}

/** The parts of a time, each in the coarsest ring that has it. A part of the coarsest ring begins with the interval that contains `from`. */
async function spansOf(
  newest: (values: { step: number }) => Promise<{ at: number | null }[]>,
  { from, to }: TimeSpan,
  coarsestMs: number,
): Promise<RingSpan[]> {
  const spans: RingSpan[] = [];
  let begin = from;
  for (const { stepMs } of SERIES_RINGS.toReversed()) {
    const isFinest = stepMs === SERIES_RINGS[0].stepMs;
    if (!isFinest && (stepMs > coarsestMs || stepMs > (to - from) / 2)) continue;
    const [last] = await newest({ step: stepMs });
    const end = isFinest ? to : Math.min(to, (last?.at ?? Number.NEGATIVE_INFINITY) + stepMs);
    if (end <= begin) continue;
    spans.push({ step: stepMs, from: spans.length === 0 ? beginOf(begin, stepMs) : begin, to: end });
    begin = end;
  }
  return spans;
}

function added(before: readonly SeriesPoint[], points: readonly SeriesPoint[]): SeriesPoint[] {
  const sum = new Map(before.map((point) => [point.series, point]));
  for (const point of points) {
    const stored = sum.get(point.series);
    if (stored) addInterval(stored, point);
    else sum.set(point.series, point);
  }
  return [...sum.values()];
}

function mostUsed(points: readonly SeriesPoint[]): readonly SeriesPoint[] {
  if (points.length <= MOST_SERIES + 1) return points;
  const own = points.filter(({ series }) => series !== SERVER_SERIES);
  const most = own.toSorted((one, other) => useOf(other) - useOf(one) || (other.memoryBytes ?? 0) - (one.memoryBytes ?? 0)).slice(0, MOST_SERIES);
  return [...points.filter(({ series }) => series === SERVER_SERIES), ...most];
}

/** A start is rare, and one that nothing shows could not be explained. */
function useOf({ requests, starts, failedStarts }: SeriesPoint): number {
  return requests + 1_000 * (starts + failedStarts);
}

function addSums(one: SeriesSum, other: SeriesSum): SeriesSum {
  const add = (first: number | null, second: number | null) => (first === null && second === null ? null : (first ?? 0) + (second ?? 0));
  return {
    series: one.series,
    requests: one.requests + other.requests,
    errors: one.errors + other.errors,
    starts: one.starts + other.starts,
    failedStarts: one.failedStarts + other.failedStarts,
    slowestStartMs: Math.max(one.slowestStartMs, other.slowestStartMs),
    waits: one.waits + other.waits,
    waitMs: one.waitMs + other.waitMs,
    runMs: one.runMs + other.runMs,
    runMbSeconds: one.runMbSeconds + other.runMbSeconds,
    cpuMs: add(one.cpuMs, other.cpuMs),
    memoryBytes: one.memoryBytes === null && other.memoryBytes === null ? null : Math.max(one.memoryBytes ?? 0, other.memoryBytes ?? 0),
  };
}
