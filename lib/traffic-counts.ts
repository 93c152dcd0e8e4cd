/**
 * Finished requests, those of them with a status 5xx, and how many took how long, by `LATENCY_BOUNDS_MS`. WebSockets and TCP connections count as requests without a
 * latency. `waits`: requests that waited for their container, and how long together; absent: none, or the gateway is of an older version.
 */
export type TrafficCounts = { requests: number; errors: number; latency: number[]; waits?: number | undefined; waitMs?: number | undefined };

/** Counts since the last report. */
export type TrafficSource = {
  /** Undefined: nothing was counted. What it returns is no longer counted. */
  take(): TrafficCounts | undefined;
  /** Counts it again: the report did not arrive. */
  putBack(counts: TrafficCounts): void;
};

/** Upper bounds, ms; one more count is above them all. */
export const LATENCY_BOUNDS_MS = [1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000] as const;
