import { LATENCY_BOUNDS_MS } from "../../lib/traffic-counts.ts";

/** What one container, or the whole server, did in one interval. Durations are in milliseconds. */
export type SeriesPoint = {
  /** Begin of the interval, epoch ms. */
  at: number;
  /** The id of a container; `SERVER_SERIES` for the sum of all. */
  series: string;
  /** Finished requests, and those of them with a status 5xx. */
  requests: number;
  errors: number;
  /** How many requests took how long, by `LATENCY_BOUNDS_MS`; without zeros at the end. */
  latency: number[];
  /** Cold starts that succeeded and that failed. */
  starts: number;
  failedStarts: number;
  /** By `START_BOUNDS_MS`. */
  startTimes: number[];
  slowestStartMs: number;
  /** The most open requests and sockets. */
  connections: number;
  /** Processor time; undefined if the driver does not report it. */
  cpuMs: number | undefined;
  /** The highest use in bytes; undefined if the driver does not report it. */
  memoryBytes: number | undefined;
  /** The highest reservation: thousandths of a core, and bytes. */
  reservedMillicores: number;
  reservedBytes: number;
  /** Requests that waited for a start, and how long they did together. */
  waits: number;
  waitMs: number;
  /** How long it ran, and what it reserved in that time. */
  runMs: number;
  runMbSeconds: number;
};

export const SERVER_SERIES = "";

/** From an image that is there to one that is pulled. */
export const START_BOUNDS_MS = [50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 20_000, 30_000, 60_000, 120_000, 300_000, 900_000] as const;

/**
 * The rings, the finest first: intervals of `stepMs`, of which the last `length` are kept. The finest is as fine as its write is cheap: one transaction of about 200
 * rows. The others have a point for each two to five pixels of a chart of a day and of a week.
 */
export const SERIES_RINGS = [
  { stepMs: 10_000, length: 360 },
  { stepMs: 300_000, length: 288 },
  { stepMs: 3_600_000, length: 168 },
] as const;

/** Containers with a point of their own in one interval: those with the most requests, then those with the most memory. The server's point counts all. */
export const MOST_SERIES = 200;

export function newPoint(series: string, at: number): SeriesPoint {
  return {
    at,
    series,
    requests: 0,
    errors: 0,
    latency: [],
    starts: 0,
    failedStarts: 0,
    startTimes: [],
    slowestStartMs: 0,
    connections: 0,
    cpuMs: undefined,
    memoryBytes: undefined,
    reservedMillicores: 0,
    reservedBytes: 0,
    waits: 0,
    waitMs: 0,
    runMs: 0,
    runMbSeconds: 0,
  };
}

/** Adds an interval of the same series to a longer one that contains it. */
export function addInterval(sum: SeriesPoint, part: SeriesPoint): void {
  addCounts(sum, part);
  sum.connections = Math.max(sum.connections, part.connections);
  if (part.memoryBytes !== undefined) sum.memoryBytes = Math.max(sum.memoryBytes ?? 0, part.memoryBytes);
  sum.reservedMillicores = Math.max(sum.reservedMillicores, part.reservedMillicores);
  sum.reservedBytes = Math.max(sum.reservedBytes, part.reservedBytes);
}

/** Adds another series in the same interval. */
export function addSeries(sum: SeriesPoint, part: SeriesPoint): void {
  addCounts(sum, part);
  sum.connections += part.connections;
  if (part.memoryBytes !== undefined) sum.memoryBytes = (sum.memoryBytes ?? 0) + part.memoryBytes;
  sum.reservedMillicores += part.reservedMillicores;
  sum.reservedBytes += part.reservedBytes;
}

function addCounts(sum: SeriesPoint, part: SeriesPoint): void {
  sum.requests += part.requests;
  sum.errors += part.errors;
  sum.starts += part.starts;
  sum.failedStarts += part.failedStarts;
  sum.waits += part.waits;
  sum.waitMs += part.waitMs;
  sum.runMs += part.runMs;
  sum.runMbSeconds += part.runMbSeconds;
  sum.slowestStartMs = Math.max(sum.slowestStartMs, part.slowestStartMs);
  addHistogram(sum.latency, part.latency, LATENCY_BOUNDS_MS.length + 1);
  addHistogram(sum.startTimes, part.startTimes, START_BOUNDS_MS.length + 1);
  if (part.cpuMs !== undefined) sum.cpuMs = (sum.cpuMs ?? 0) + part.cpuMs;
}

/** Counts beyond `most` are ignored: a gateway of another version may have more bounds. */
export function addHistogram(sum: number[], part: readonly number[], most: number): void {
  for (let index = 0; index < part.length && index < most; index++) {
    while (sum.length <= index) sum.push(0);
    sum[index] = (sum[index] ?? 0) + (part[index] ?? 0);
  }
}

export function observeStart(point: SeriesPoint, ms: number): void {
  const index = START_BOUNDS_MS.findIndex((bound) => ms <= bound);
  const counts = Array.from({ length: (index === -1 ? START_BOUNDS_MS.length : index) + 1 }, () => 0);
  counts[counts.length - 1] = 1;
  addHistogram(point.startTimes, counts, START_BOUNDS_MS.length + 1);
  point.starts++;
  point.slowestStartMs = Math.max(point.slowestStartMs, Math.round(ms));
}

/**
 * The quantile of a histogram, as `histogram_quantile` of Prometheus estimates it: evenly spread within a bucket. Above the last bound it is that bound.
 * Undefined without observations.
 */
export function quantileOf(counts: readonly number[], bounds: readonly number[], quantile: number): number | undefined {
  const total = counts.reduce((sum, count) => sum + count, 0);
  if (total === 0) return undefined;
  const rank = quantile * total;
  let below = 0;
  for (const [index, count] of counts.entries()) {
    if (count > 0 && below + count >= rank) {
      const from = bounds[index - 1] ?? 0;
      const to = bounds[index] ?? from;
      return from + (to - from) * Math.max(0, (rank - below) / count);
    }
    below += count;
  }
  return bounds.at(-1);
}

/** The begin of the interval that contains `time`. */
export function beginOf(time: number, stepMs: number): number {
  return Math.floor(time / stepMs) * stepMs;
}
