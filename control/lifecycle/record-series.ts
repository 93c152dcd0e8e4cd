import type { Driver, Usage } from "../../drivers/driver.ts";
import type { ReportedUse } from "../../gateway/contract.ts";
import type { Clock } from "../../lib/clock.ts";
import { withTimeout } from "../../lib/deadline.ts";
import { Fault } from "../../lib/fault.ts";
import type { Log } from "../../lib/log.ts";
import { LATENCY_BOUNDS_MS } from "../../lib/traffic-counts.ts";
import type { Container } from "../model/entities.ts";
import { addHistogram, addSeries, beginOf, newPoint, observeStart, SERIES_RINGS, type SeriesPoint, SERVER_SERIES } from "../model/series.ts";
import { type ContainerState, isStarting } from "../model/states.ts";
import type { Store } from "../store/open-store.ts";
import type { Lifecycle } from "./open-lifecycle.ts";
import type { UseHours } from "./warm-up.ts";

/** What a running container used: cores on average over the last seconds, and bytes. Undefined: not measured yet, or the driver does not tell it. */
export type ResourceUse = { cpu: number | undefined; memoryBytes: number | undefined };

/** Measures the server and its containers over time, and stores that in `SERIES_RINGS`. */
export type SeriesRecorder = {
  /** The requests that finished since a gateway's last report. */
  countTraffic(uses: readonly ReportedUse[]): void;
  /** By the last sample; undefined: it does not run. */
  lastUse(id: string): ResourceUse | undefined;
  start(): void;
  /** Stores the interval under way. */
  close(): Promise<void>;
};

export type SeriesRecorderDeps = {
  store: Pick<Store, "containers" | "series">;
  /** What is measured counts for its hour too; undefined: nothing is learned from it. */
  hours?: UseHours | undefined;
  lifecycle: Pick<Lifecycle, "watch" | "depth" | "connections">;
  driver: Pick<Driver, "usage">;
  clock: Clock;
  log: Log;
};

/** `cpuShare`: cores, on average since the sample before. */
type ResourceSample = Usage & { since: number; at: number; cpuShare: number | undefined };
type RunningContainer = Pick<Container, "id" | "service" | "since" | "state" | "config" | "replicaOf">;

const STEP_MS = SERIES_RINGS[0].stepMs;
/** Statistics cost an engine some milliseconds each. With more running containers than this, each is sampled in turn. */
const MOST_SAMPLES = 40;
const SAMPLES_AT_ONCE = 2;
const SAMPLE_MS = 3_000;
/** While more than this is in progress, starts need the engine. */
const BUSY_DEPTH = 4;
/** In one interval. Only containers that exist are counted. */
const MOST_COUNTED = 100_000;
const MEBIBYTE = 1_048_576;

export function createSeriesRecorder({ store, hours, lifecycle, driver, clock, log }: SeriesRecorderDeps): SeriesRecorder {
  const stop = new AbortController();
  let points = new Map<string, SeriesPoint>();
  let samples = new Map<string, ResourceSample>();
  let rolledUpTo = 0;
  let isFull = false;
  let cancel = () => {};
  let working = Promise.resolve();

  const pointOf = (id: string): SeriesPoint => {
    const point = points.get(id) ?? newPoint(id, 0);
    if (points.size < MOST_COUNTED) points.set(id, point);
    else isFull = true;
    return point;
  };
  const unwatch = watchStarts(lifecycle, {
    started: (id, ms, isForRequest) => {
      observeStart(pointOf(id), ms);
      if (isForRequest) hours?.started(id);
    },
    failed: (id) => void pointOf(id).failedStarts++,
  });

  const sample = async ({ id, service, since }: RunningContainer): Promise<void> => {
    const before = samples.get(id);
    samples.delete(id);
    const overdue = () => new Fault("ENGINE_UNREACHABLE", `The statistics of ${service} did not come within ${SAMPLE_MS / 1_000} s.`);
    const now = await withTimeout({ clock, ms: SAMPLE_MS, overdue, signal: stop.signal }, async (signal) =>
      driver.usage?.(service, { signal }),
    ).catch(() => undefined);
    if (now) samples.set(id, { ...now, since, at: clock.monotonic(), cpuShare: cpuShareOf(now, before, { since, at: clock.monotonic() }) });
  };
  /** The least recently sampled first. */
  const sampleAll = async (running: readonly RunningContainer[]): Promise<void> => {
    const ids = new Set(running.map(({ id }) => id));
    samples = new Map([...samples].filter(([id]) => ids.has(id)));
    if (driver.usage === undefined || lifecycle.depth().running > BUSY_DEPTH) return;
    const order = new Map([...samples.keys()].map((id, index) => [id, index]));
    const started = running.filter(({ state }) => state === "STARTED");
    const due = started.toSorted((one, other) => (order.get(one.id) ?? -1) - (order.get(other.id) ?? -1)).slice(0, MOST_SAMPLES);
    const takeTurns = async () => {
      for (let next = due.shift(); next && !stop.signal.aborted; next = due.shift()) await sample(next);
    };
    await Promise.all(Array.from({ length: SAMPLES_AT_ONCE }, takeTurns));
  };

  /** Stores the interval that ended at `end`; `ms` is how much of it this process has measured. */
  const flush = async (end: number, ms: number): Promise<void> => {
    const running = await store.containers.running();
    if (!stop.signal.aborted) await sampleAll(running);
    const counted = points;
    points = new Map();
    if (isFull) log.warn({ most: MOST_COUNTED }, "too many containers used in one interval to count all");
    isFull = false;
    try {
      await append({ end, ms, running, counted });
    } catch (error) {
      // Nothing of it is stored: it counts for the next interval.
      for (const [id, point] of counted) addSeries(pointOf(id), point);
      throw error;
    }
    const coarse = beginOf(end, SERIES_RINGS[1].stepMs);
    if (coarse === rolledUpTo) return;
    await store.series.rollUpUntil(end);
    rolledUpTo = coarse;
  };
  type Interval = { end: number; ms: number; running: readonly RunningContainer[]; counted: ReadonlyMap<string, SeriesPoint> };
  const append = async ({ end, ms, running, counted }: Interval): Promise<void> => {
    const measured = new Map([...counted].map(([id, point]) => [id, { ...point }]));
    for (const row of running) {
      // What a replica uses is use of its container.
      const id = row.replicaOf ?? row.id;
      const point = measured.get(id) ?? newPoint(id, 0);
      measured.set(id, point);
      addResources(point, row, samples.get(row.id), ms);
      if (row.replicaOf !== undefined) continue;
      point.runMs = Math.round(ms);
      point.runMbSeconds = Math.round((row.config.memoryMb * ms) / 1_000);
      point.connections = lifecycle.connections(row.id);
      hours?.ran(row.id, ms, end - STEP_MS);
    }
    await hours?.turn();
    if (measured.size === 0) return;
    const server = newPoint(SERVER_SERIES, 0);
    for (const point of measured.values()) addSeries(server, point);
    await store.series.append(end - STEP_MS, [server, ...measured.values()]);
  };
  const work = (end: number, ms: number) =>
    flush(end, ms).catch((error: unknown) => {
      if (!stop.signal.aborted) log.error({ err: error }, "measurements not stored");
    });

  let measuredUntil = clock.monotonic();
  /** How much of an interval was measured: the wall clock may be set back into it, and go through it once more. */
  const measuredMs = () => {
    const before = measuredUntil;
    measuredUntil = clock.monotonic();
    return Math.min(STEP_MS, measuredUntil - before);
  };
  const schedule = (): void => {
    const begin = clock.now();
    const end = beginOf(begin, STEP_MS) + STEP_MS;
    cancel = clock.after(end - begin, () => {
      const ms = measuredMs();
      // A slow engine or database must not pile them up.
      working = working.then(() => work(end, ms)).then(() => void (stop.signal.aborted || schedule()));
    });
  };

  return {
    countTraffic: (uses) => {
      for (const { id, lastActive, traffic, replica } of uses) {
        if (replica === true) continue;
        hours?.used(id, lastActive, traffic?.waitMs ?? 0);
        if (!traffic) continue;
        const point = pointOf(id);
        point.waits += traffic.waits ?? 0;
        point.waitMs += traffic.waitMs ?? 0;
        point.requests += traffic.requests;
        point.errors += traffic.errors;
        addHistogram(point.latency, traffic.latency, LATENCY_BOUNDS_MS.length + 1);
      }
    },
    lastUse: (id) => {
      const sample = samples.get(id);
      return sample && { cpu: sample.cpuShare, memoryBytes: sample.memoryBytes };
    },
    start: () => {
      measuredUntil = clock.monotonic();
      schedule();
    },
    close: async () => {
      cancel();
      stop.abort(new Error("the recorder is closed"));
      unwatch();
      await working;
      const now = clock.now();
      const begin = beginOf(now, STEP_MS);
      await work(begin + STEP_MS, Math.min(now - begin, measuredMs()));
      await hours?.close();
    },
  };
}

type WatchedStarts = { started(id: string, ms: number, isForRequest: boolean): void; failed(id: string): void };

/** Calls `started` with the duration of each start that succeeds, and `failed` after each that fails. */
function watchStarts({ watch }: Pick<Lifecycle, "watch">, on: WatchedStarts): () => void {
  const starting = new Map<string, ContainerState>();
  return watch((change) => {
    if ("removed" in change) return void starting.delete(change.removed);
    if ("image" in change) return;
    const { id, state, phases, requestedFor } = change.container;
    const was = starting.get(id);
    if (isStarting(state)) return void starting.set(id, state);
    starting.delete(id);
    if (was === undefined) return;
    if (state === "ERROR") on.failed(id);
    // One that the engine reported running, without a start, has no phases of its own.
    if (state !== "STARTED" || was !== "STARTING" || phases === undefined) return;
    on.started(
      id,
      Object.values(phases).reduce((sum, ms) => sum + ms, 0),
      requestedFor === "request",
    );
  });
}

/** Undefined: the counters are another start's, or there is only one sample. */
function cpuShareOf(now: Usage, before: ResourceSample | undefined, { since, at }: { since: number; at: number }): number | undefined {
  if (now.windowMs !== undefined) return now.cpuMs / now.windowMs;
  if (!before || before.since !== since || now.cpuMs < before.cpuMs || at <= before.at) return undefined;
  return (now.cpuMs - before.cpuMs) / (at - before.at);
}

function addResources(point: SeriesPoint, { config }: RunningContainer, sample: ResourceSample | undefined, ms: number): void {
  point.reservedMillicores += Math.round(config.cpu * 1_000);
  point.reservedBytes += config.memoryMb * MEBIBYTE;
  if (sample?.cpuShare !== undefined) point.cpuMs = (point.cpuMs ?? 0) + Math.round(sample.cpuShare * ms);
  if (sample?.memoryBytes !== undefined) point.memoryBytes = (point.memoryBytes ?? 0) + sample.memoryBytes;
}
