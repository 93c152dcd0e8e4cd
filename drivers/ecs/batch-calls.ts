import type { Clock } from "../../lib/clock.ts";

type BatchedCall<V> = { resolve(value: V | undefined): void; reject(error: unknown): void };

/**
 * Questions about single things, asked together: those that come within `windowMs` of the first, or `most` of them. Answers undefined for what was
 * not found; all of a call fail as it does. Who is called off waits no longer, the others do.
 */
export function batchCalls<V>(how: { most: number; windowMs: number; clock: Clock; ask(keys: string[]): Promise<Map<string, V>> }) {
  let coming = new Map<string, BatchedCall<V>[]>();
  let cancel = () => {};

  const flush = () => {
    cancel();
    const asked = coming;
    coming = new Map();
    how.ask([...asked.keys()]).then(
      (found) => asked.forEach((waiting, key) => waiting.forEach(({ resolve }) => resolve(found.get(key)))),
      (error: unknown) => asked.forEach((waiting) => waiting.forEach(({ reject }) => reject(error))),
    );
  };

  return (key: string, signal?: AbortSignal): Promise<V | undefined> =>
    new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason as Error);
      const onAbort = () => reject(signal?.reason as Error);
      signal?.addEventListener("abort", onAbort, { once: true });
      const settled =
        <T>(act: (outcome: T) => void) =>
        (outcome: T) => {
          signal?.removeEventListener("abort", onAbort);
          act(outcome);
        };
      const waiting = { resolve: settled(resolve), reject: settled(reject) };
      if (coming.size === 0) cancel = how.clock.after(how.windowMs, flush);
      coming.set(key, [...(coming.get(key) ?? []), waiting]);
      if (coming.size >= how.most) flush();
    });
}

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
