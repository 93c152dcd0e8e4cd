import { type Static, Type } from "typebox";
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
});

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
  totals: TOTALS,
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
