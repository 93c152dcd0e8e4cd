import type { Clock } from "../../lib/clock.ts";

/** An engine that ends stops its containers first, for up to 15 s each: what fails so shortly before its events end failed with it. */
const SHUTDOWN_MS = 20_000;

/** When the engine was last away, restarted or not observed. A failure in an outage does not count against a container. */
export type Outages = {
  /** The engine's events were interrupted. */
  began(): void;
  /** Events arrive again; for a driver that reports no breaks, this is the only signal. */
  ended(): void;
  /** True for what was started at `since` (epoch ms), ran until the last outage, and may have ended with it. */
  mayHaveEnded(since: number): boolean;
  /** True for a failure at `at` (epoch ms) that the last outage explains. */
  explains(at: number): boolean;
  /** Repairs times in the future: the clock was set back. Else every failure would count as part of the outage until they come again. */
  repairClockSkew(): void;
};

/** Before the first `ended`, control itself was away since `openedAt`. */
export function createOutages(clock: Pick<Clock, "now">, openedAt: number): Outages {
  let from = openedAt;
  let broke = openedAt;
  let until: number | undefined;
  const began = () => {
    if (until === undefined) return;
    broke = clock.now();
    from = broke - SHUTDOWN_MS;
    until = undefined;
  };
  return {
    began,
    ended: () => {
      began();
      until = clock.now();
    },
    // What was started without events counts as ever: else it could be started again and again without a pause.
    mayHaveEnded: (since) => since < (until ?? broke),
    explains: (at) => at >= from && (until === undefined || at < until),
    repairClockSkew: () => {
      const now = clock.now();
      from = Math.min(from, now);
      broke = Math.min(broke, now);
      if (until !== undefined) until = Math.min(until, now);
    },
  };
}
