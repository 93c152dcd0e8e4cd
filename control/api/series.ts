import { LATENCY_BOUNDS_MS } from "../../lib/traffic-counts.ts";
import { createManageCheck, mayManageAuthor } from "../identity/rights.ts";
import {
  addInterval,
  addSeries,
  beginOf,
  newPoint,
  quantileOf,
  SERIES_RINGS,
  type SeriesPoint,
  SERVER_SERIES,
  START_BOUNDS_MS,
} from "../model/series.ts";
import { CONTAINER_WIRE_STATES, type ContainerState } from "../model/states.ts";
import type { SeriesSum } from "../store/series.ts";
import { isoDate, requireContainer } from "./entities.ts";
import { route, type Route, type RouteDeps } from "./route.ts";
import {
  type ContainerSumJson,
  OVERVIEW,
  type OverviewJson,
  RANGE_QUERY,
  RECENT_REQUESTS,
  SERIES,
  SERIES_RANGES,
  type SeriesJson,
  type SeriesRange,
} from "./schemas-series.ts";
import { ID_PARAMS } from "./schemas.ts";

/** Rows of each list of the overview. */
const LISTED = 8;
const MOST_FAILED = 200;
/** A user without administration sees the sum of so many containers: those with the most requests. */
const MOST_OWN = 50;
/** How long after its end an interval may be stored. */
const STORED_MS = 30_000;
const HOUR_MS = 3_600_000;
const MEBIBYTES = 1_024;
const FINEST_MS = SERIES_RINGS[0].stepMs;

type SeriesDeps = Pick<RouteDeps, "store" | "clock" | "authorization" | "gateways">;
type SeriesStore = Pick<RouteDeps["store"], "series" | "containers">;

/** Measurements over time, and the last requests. */
export function seriesRoutes({ store, clock, authorization, gateways }: SeriesDeps): Route[] {
  const tags = ["docker containers"];
  return [
    route({
      method: "GET",
      path: "/docker/overview",
      authorize: "session",
      schema: {
        tags: ["server"],
        summary: "Returns what runs, what fails, and who uses most: of the server for administrators, else of the caller's containers",
        querystring: RANGE_QUERY,
        response: OVERVIEW,
      },
      handle: async (request) => overviewOf({ store, clock }, authorization.caller(request), request.query.range ?? "1h"),
    }),
    route({
      method: "GET",
      path: "/docker/containers/:id/series",
      authorize: "session",
      schema: {
        tags,
        summary: "Returns requests, latency, starts, CPU and memory of a container over time",
        params: ID_PARAMS,
        querystring: RANGE_QUERY,
        response: SERIES,
      },
      handle: async (request) => {
        const container = await requireContainer(store, authorization.caller(request), request.params.id);
        return readSeries(store, [container.id], request.query.range ?? "1h", clock.now());
      },
    }),
    route({
      method: "GET",
      path: "/docker/containers/:id/requests",
      authorize: "session",
      schema: {
        tags,
        summary: "Lists the last 200 finished requests of a container, the newest first; none with BERTH_RECENT_REQUESTS=off",
        params: ID_PARAMS,
        response: RECENT_REQUESTS,
      },
      handle: async (request) => {
        const container = await requireContainer(store, authorization.caller(request), request.params.id);
        return (await gateways.recentRequests(container.id)).map(({ at, ...recent }) => ({ ...recent, time: isoDate(at) }));
      },
    }),
  ];
}

type Manager = { userId: string; admin: boolean };

async function overviewOf({ store, clock }: Pick<SeriesDeps, "store" | "clock">, caller: Manager, range: SeriesRange): Promise<OverviewJson> {
  const now = clock.now();
  const { ms } = SERIES_RANGES[range];
  const mayManage = createManageCheck(store, caller);
  const own = caller.admin ? undefined : await ownContainers(store, caller);
  const all = await store.series.sums({ from: now - ms, to: now });
  const sums = own ? all.filter(({ series }) => own.has(series)) : all;
  const byRequests = top(sums, ({ requests }) => requests);
  const shown = own
    ? top(sums, ({ requests, memoryBytes }) => requests + (memoryBytes ?? 0) / 1e12, MOST_OWN).map(({ series }) => series)
    : [SERVER_SERIES];
  const series = await readSeries(store, shown, range, now, own && { ids: [...own.keys()], sums });
  const [byMemory, byStart] = [top(sums, ({ memoryBytes }) => memoryBytes ?? 0), top(sums, ({ slowestStartMs }) => slowestStartMs)];
  const byWait = top(sums, ({ waitMs }) => waitMs);
  const named = await store.containers.some([...new Set([byRequests, byMemory, byStart, byWait].flat().map(({ series: id }) => id))]);
  const names = new Map(named.map(({ id, name }) => [id, name]));
  const sumsToJson = (rows: readonly SeriesSum[]) => rows.flatMap((row) => sumToJson(row, names.get(row.series), ms));
  const failing = [];
  for (const one of await store.containers.failed(MOST_FAILED)) {
    if (failing.length < LISTED && (await mayManage(one.packageId))) failing.push(one);
  }
  return {
    scope: own ? "own" : "server",
    containers: own ? countStates([...own.values()]) : byWireState(await store.containers.states()),
    series,
    capacity: {
      cpuReserved: series.cpuReserved.at(-1) ?? 0,
      memoryReserved: series.memoryReserved.at(-1) ?? 0,
      cpu: series.cpu.at(-1) ?? null,
      memory: series.memory.at(-1) ?? null,
    },
    failing: failing.map(({ id, name, fault, since }) => ({
      id,
      name,
      code: fault?.code ?? "INTERNAL",
      message: fault?.message ?? "",
      since: isoDate(since),
    })),
    most: sumsToJson(byRequests),
    largest: sumsToJson(byMemory),
    slowest: sumsToJson(byStart),
    waited: sumsToJson(byWait),
  };
}

/** Those that the caller may manage, with their states. The rights depend on the author, and there are far fewer authors than packages. */
async function ownContainers(store: RouteDeps["store"], caller: Manager): Promise<Map<string, ContainerState>> {
  const mayManage = new Map<string, boolean>();
  const packages = new Set<string>();
  for (const { id, authorId } of await store.packages.all()) {
    const may = mayManage.get(authorId) ?? (await mayManageAuthor(store, caller, authorId));
    mayManage.set(authorId, may);
    if (may) packages.add(id);
  }
  await new Promise(setImmediate);
  const own = (await store.containers.stateOfEach()).filter(({ packageId }) => packages.has(packageId));
  return new Map(own.map(({ id, state }) => [id, state]));
}

function countStates(states: readonly ContainerState[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const state of states) counts[CONTAINER_WIRE_STATES[state]] = (counts[CONTAINER_WIRE_STATES[state]] ?? 0) + 1;
  return counts;
}

function byWireState(rows: readonly { state: ContainerState; count: number }[]): Record<string, number> {
  return Object.fromEntries(rows.map(({ state, count }) => [CONTAINER_WIRE_STATES[state], count]));
}

/** Without those for which it is 0. */
function top(sums: readonly SeriesSum[], value: (sum: SeriesSum) => number, most = LISTED): SeriesSum[] {
  return sums
    .filter((sum) => value(sum) > 0)
    .toSorted((one, other) => value(other) - value(one))
    .slice(0, most);
}

function sumToJson({ series, cpuMs, memoryBytes, slowestStartMs, ...counts }: SeriesSum, name: string | undefined, ms: number): ContainerSumJson[] {
  if (name === undefined) return [];
  const { requests, errors, starts, failedStarts, waits, waitMs } = counts;
  const cpu = cpuMs === null ? null : cpuMs / ms;
  const waited = { waits, waitSeconds: rounded(waitMs / 1_000) };
  return [{ id: series, name, requests, errors, starts, failedStarts, slowestStart: slowestStartMs, ...waited, cpu, memory: memoryBytes }];
}

/**
 * The sum of these series until the last interval that was stored, with a point for each interval. `own`: the savings are those of these containers, which are more
 * than the series.
 */
async function readSeries(
  store: SeriesStore,
  series: readonly string[],
  range: SeriesRange,
  now: number,
  own?: { ids: readonly string[]; sums: readonly SeriesSum[] },
): Promise<SeriesJson> {
  const { ms, stepMs } = SERIES_RANGES[range];
  const last = beginOf(now, FINEST_MS);
  // An interval is stored after its end. Without use there is none.
  const to = Math.min(last, Math.max(await store.series.end(), last - STORED_MS));
  const first = beginOf(to - 1, stepMs) - (ms - stepMs);
  const slots = Array.from({ length: ms / stepMs }, (_, index) => newPoint("", first + index * stepMs));
  const points = series.length === 0 ? [] : await store.series.points(series, { from: first, to }, stepMs);
  for (const [index, sameTime] of simultaneous(points).entries()) {
    const slot = slots[Math.floor((sameTime.at - first) / stepMs)];
    if (slot) addInterval(slot, sameTime);
    // Of many containers there are many points, and a request must not wait for all of them.
    if (index % 500 === 499) await new Promise(setImmediate);
  }
  // Of the last interval only a part may have passed.
  const secondsOf = ({ at }: SeriesPoint) => Math.max(FINEST_MS, Math.min(at + stepMs, to) - at) / 1_000;
  const total = newPoint("", first);
  for (const slot of slots) addInterval(total, slot);
  const ids = own?.ids ?? (series.includes(SERVER_SERIES) ? undefined : series);
  const lived = await store.containers.lived({ from: first, to, ids });
  return {
    range,
    from: isoDate(first),
    to: isoDate(to),
    step: stepMs / 1_000,
    time: slots.map(({ at }) => at / 1_000),
    requests: slots.map((slot) => rounded(slot.requests / secondsOf(slot))),
    errors: slots.map((slot) => rounded(slot.errors / secondsOf(slot))),
    latencyMedian: slots.map(({ latency }) => latencyOf(latency, 0.5)),
    latencyP95: slots.map(({ latency }) => latencyOf(latency, 0.95)),
    starts: slots.map(({ starts }) => starts),
    failedStarts: slots.map(({ failedStarts }) => failedStarts),
    connections: slots.map(({ connections }) => connections),
    cpu: slots.map((slot) => (slot.cpuMs === undefined ? null : rounded(slot.cpuMs / 1_000 / secondsOf(slot)))),
    cpuReserved: slots.map(({ reservedMillicores }) => reservedMillicores / 1_000),
    memory: slots.map(({ memoryBytes }) => memoryBytes ?? null),
    memoryReserved: slots.map(({ reservedBytes }) => reservedBytes),
    waitSeconds: slots.map(({ waitMs }) => rounded(waitMs / 1_000)),
    savings: savingsOf(lived, own?.sums ?? [total]),
    totals: {
      requests: total.requests,
      errors: total.errors,
      latencyMedian: latencyOf(total.latency, 0.5),
      latencyP95: latencyOf(total.latency, 0.95),
      starts: total.starts,
      failedStarts: total.failedStarts,
      startMedian: startOf(total.startTimes, 0.5),
      startP95: startOf(total.startTimes, 0.95),
      waits: total.waits,
      waitSeconds: rounded(total.waitMs / 1_000),
    },
  };
}

type RunTime = Pick<SeriesPoint, "runMs" | "runMbSeconds">;

/** `lived`: how long the containers could have run. A removed one ran, and is no longer among them. */
function savingsOf(lived: { ms: number; mbSeconds: number }, ran: readonly RunTime[]): SeriesJson["savings"] {
  const runMs = ran.reduce((sum, one) => sum + one.runMs, 0);
  const runMbSeconds = ran.reduce((sum, one) => sum + one.runMbSeconds, 0);
  return {
    runHours: rounded(runMs / HOUR_MS),
    sleepHours: rounded(Math.max(0, lived.ms - runMs) / HOUR_MS),
    sleepMemoryHours: rounded(Math.max(0, lived.mbSeconds - runMbSeconds) / MEBIBYTES / (HOUR_MS / 1_000)),
  };
}

/** Points of several series become one for each time. */
function simultaneous(points: readonly SeriesPoint[]): SeriesPoint[] {
  const byTime = new Map<number, SeriesPoint>();
  for (const point of points) {
    const sum = byTime.get(point.at);
    if (sum) addSeries(sum, point);
    else byTime.set(point.at, point);
  }
  return [...byTime.values()];
}

function latencyOf(counts: readonly number[], quantile: number): number | null {
  return quantileMs(counts, LATENCY_BOUNDS_MS, quantile);
}

function startOf(counts: readonly number[], quantile: number): number | null {
  return quantileMs(counts, START_BOUNDS_MS, quantile);
}

function quantileMs(counts: readonly number[], bounds: readonly number[], quantile: number): number | null {
  const ms = quantileOf(counts, bounds, quantile);
  return ms === undefined ? null : rounded(ms);
}

/** Clocks count finer than a reader needs. */
function rounded(value: number): number {
  return Math.round(value * 1_000) / 1_000;
}
