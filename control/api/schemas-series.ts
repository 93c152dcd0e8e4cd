import { type Static, Type } from "typebox";
import { WARM_UP_MODES } from "../model/warm-hours.ts";
import { count, date, mapOf, nullable, oneOf, text } from "./schemas.ts";

// As schemas.ts: this file imports nothing that needs Node.

/** The ranges of charts: their length, and the interval between two points. */
export const SERIES_RANGES = {
  "15m": { ms: 15 * 60_000, stepMs: 10_000 },
  "1h": { ms: 3_600_000, stepMs: 30_000 },
  "24h": { ms: 24 * 3_600_000, stepMs: 300_000 },
  "7d": { ms: 7 * 24 * 3_600_000, stepMs: 3_600_000 },
} as const;
export type SeriesRange = keyof typeof SERIES_RANGES;

export const RANGE_QUERY = Type.Object({
  range: Type.Optional(oneOf(Object.keys(SERIES_RANGES) as SeriesRange[], { description: "default: `1h`" })),
});

const milliseconds = Type.Number({ description: "ms" });
const numbers = (description: string) => Type.Array(Type.Number(), { description });
const gaps = (description: string) =>
  Type.Unsafe<(number | null)[]>({
    type: "array",
    items: { type: ["number", "null"] },
    description: `${description}; null where nothing was measured`,
  });

const TOTALS = Type.Object({
  requests: count,
  errors: Type.Integer({ description: "requests with a status 5xx" }),
  latencyMedian: nullable(milliseconds),
  latencyP95: nullable(milliseconds),
  starts: Type.Integer({ description: "cold starts that succeeded" }),
  failedStarts: count,
  startMedian: nullable(milliseconds),
  startP95: nullable(milliseconds),
  waits: Type.Integer({ description: "requests that waited for a start, also those that gave up" }),
  waitSeconds: Type.Number({ description: "how long they waited together" }),
});

const SAVINGS = Type.Object(
  {
    runHours: Type.Number({ description: "how long containers ran" }),
    sleepHours: Type.Number({ description: "how long they did not, of the time in which they could have" }),
    sleepMemoryHours: Type.Number({ description: "the same, times their memory limits in GiB" }),
  },
  { description: "what sleeping saved against running always; a container that a user stopped, or that failed, counts until then" },
);

export const SERIES = Type.Object({
  range: oneOf(Object.keys(SERIES_RANGES) as SeriesRange[]),
  from: date,
  to: Type.String({ format: "date-time", description: "the end of the last interval that was stored" }),
  step: Type.Integer({ description: "seconds between two points" }),
  time: numbers("begin of each interval, seconds since 1970; the other arrays have as many values"),
  requests: numbers("finished requests per second"),
  errors: numbers("requests with a status 5xx per second"),
  latencyMedian: gaps("ms; WebSockets and TCP connections do not count"),
  latencyP95: gaps("ms"),
  starts: numbers("cold starts"),
  failedStarts: numbers("starts that failed"),
  connections: numbers("the most open requests and sockets"),
  cpu: gaps("cores in use"),
  cpuReserved: numbers("cores"),
  memory: gaps("the most bytes in use"),
  memoryReserved: numbers("bytes"),
  waitSeconds: numbers("seconds that requests waited for starts"),
  totals: TOTALS,
  savings: SAVINGS,
});
export type SeriesJson = Static<typeof SERIES>;

const CONTAINER_SUM = Type.Object({
  id: text,
  name: text,
  requests: count,
  errors: count,
  starts: count,
  failedStarts: count,
  slowestStart: milliseconds,
  waits: Type.Integer({ description: "requests that waited for a start" }),
  waitSeconds: Type.Number(),
  cpu: nullable(Type.Number({ description: "cores in use on average" })),
  memory: nullable(Type.Integer({ description: "the most bytes in use" })),
});
export type ContainerSumJson = Static<typeof CONTAINER_SUM>;

export const OVERVIEW = Type.Object({
  scope: oneOf(["server", "own"], { description: "`own`: of the containers that the caller may manage" }),
  containers: mapOf(count, { description: "how many, by status" }),
  series: SERIES,
  capacity: Type.Object({
    cpuReserved: Type.Number({ description: "cores, at the last interval" }),
    memoryReserved: Type.Integer({ description: "bytes" }),
    cpu: nullable(Type.Number({ description: "cores in use" })),
    memory: nullable(Type.Integer({ description: "bytes in use" })),
  }),
  failing: Type.Array(Type.Object({ id: text, name: text, code: text, message: text, since: date }), { description: "the latest first" }),
  most: Type.Array(CONTAINER_SUM, { description: "those with the most requests" }),
  largest: Type.Array(CONTAINER_SUM, { description: "those with the most memory" }),
  slowest: Type.Array(CONTAINER_SUM, { description: "those with the slowest starts" }),
  waited: Type.Array(CONTAINER_SUM, { description: "those whose requests waited longest for starts, together" }),
});
export type OverviewJson = Static<typeof OVERVIEW>;

export const RECENT_REQUESTS = Type.Array(
  Type.Object({
    time: Type.String({ format: "date-time", description: "when it ended" }),
    method: Type.String({ description: "`TCP` for a TCP connection" }),
    path: Type.String({ description: "without the query" }),
    status: Type.Integer({ description: "0: the client left before a response; 101: a WebSocket or TCP connection" }),
    ms: Type.Number({ description: "from the head of the request to the last byte of its response" }),
    login: text,
  }),
);
export type RecentRequestsJson = Static<typeof RECENT_REQUESTS>;

const warmHours = Type.Array(Type.String({ minLength: 1, maxLength: 100 }), {
  maxItems: 100,
  description: 'lines as in keep_warm: "Mon-Fri 08:00-17:00 Europe/Berlin"',
});

const USUAL_HOURS = Type.Object({
  hours: Type.Array(text, { description: "in at least 3 of the last 4 weeks it was used in them; lines as in keep_warm" }),
  weeks: Type.Integer({ description: "the weeks that the other figures are of; they end yesterday" }),
  starts: Type.Integer({ description: "cold starts for requests in these hours" }),
  waitSeconds: Type.Number({ description: "how long requests waited for them together" }),
  extraHours: Type.Number({ description: "how much longer it would have run, kept warm in these hours" }),
  memoryHours: Type.Number({ description: "the same, times its memory limit in GiB" }),
  misses: Type.Integer({ description: "how many of its last usual periods in a row passed without use" }),
});
export type UsualHoursJson = Static<typeof USUAL_HOURS>;

export const WARM_UP = Type.Object({
  mode: oneOf(WARM_UP_MODES, { description: "BERTH_WARM_UP" }),
  zone: text,
  chosen: Type.Unsafe<{ hours: string[]; by: "user" | "auto"; login: string | null; since: string } | null>({
    type: ["object", "null"],
    description: "the hours in which it is kept warm, beside its keep_warm; none: a user decided against it",
    properties: {
      hours: Type.Array(text),
      by: oneOf(["user", "auto"]),
      login: nullable(text),
      since: date,
    },
  }),
  usual: USUAL_HOURS,
  isSuggested: Type.Boolean({ description: "its usual hours save at least one cold start a week, and no user has decided" }),
  says: Type.String({ description: "for readers" }),
});
export type WarmUpJson = Static<typeof WARM_UP>;

export const WARM_UP_CHOICE = Type.Object({
  hours: Type.Unsafe<string[] | null>({
    ...warmHours,
    type: ["array", "null"],
    description: "lines as in keep_warm; none: keep it warm in no other hours; null: leave it to berth",
  }),
});

export const SUGGESTIONS = Type.Array(Type.Object({ id: text, name: text, usual: USUAL_HOURS, says: text }));
export type SuggestionJson = Static<typeof SUGGESTIONS>[number];
