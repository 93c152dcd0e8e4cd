import type { Clock } from "../../lib/clock.ts";

/** Lets calls pass at most so fast: each waits for its turn, in the order in which they came, or rejects with the signal's reason. */
export type RateLimit = (signal?: AbortSignal) => Promise<void>;

/** `burst` calls may come at once after a pause; from then on `perSecond`. */
export function createRateLimit({ perSecond, burst, clock }: { perSecond: number; burst: number; clock: Clock }): RateLimit {
  const gap = 1_000 / perSecond;
  let last = Number.NEGATIVE_INFINITY;
  return async (signal) => {
    const now = clock.monotonic();
    last = Math.max(last, now - burst * gap) + gap;
    if (last > now) await clock.sleep(last - now, signal);
  };
}
