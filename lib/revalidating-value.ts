import { backoffDelay } from "./backoff.ts";
import type { Clock } from "./clock.ts";

/** A value of another server: loaded at its first use, and kept while that server is away. */
type RevalidatingValue<T> = {
  /** Immediate while it is fresh. If it was never loaded, rejects with the error of the last attempt. */
  get(): T | Promise<T>;
  /** Loads it again; simultaneous calls share that. Resolves also if it fails. */
  refresh(): Promise<void>;
};

const RETRY = { firstMs: 500, longestMs: 30_000 };
/** After it was fresh, a value stays in use for this time while it is loaded again, so that frequent callers never wait. */
const GRACE_MS = 10_000;
/** After a longer time without calls, a caller waits for the current value, but not for a server that hangs. */
const PATIENCE_MS = 2_000;

/**
 * `freshMs`: how long a value is fresh. A value that is older by more than 10 s is used only if loading it fails or takes longer than 2 s. Failures are
 * repeated with back-off.
 */
export function createRevalidatingValue<T>(options: {
  fetch(before: T | undefined): Promise<T>;
  freshMs: number;
  clock: Clock;
  onFailure(error: unknown): void;
}): RevalidatingValue<T> {
  const { fetch, freshMs, clock, onFailure } = options;
  let value: { is: T; at: number } | undefined;
  let failure: unknown;
  let nextTryAt = -Infinity;
  let failures = 0;
  let inFlight: Promise<void> | undefined;
  /** Callers that wait for the load share one time limit, from the first of them on. */
  let patience: { until: number; over: Promise<void> } | undefined;

  const attempt = async () => {
    try {
      value = { is: await fetch(value?.is), at: clock.monotonic() };
      failures = 0;
      nextTryAt = -Infinity;
    } catch (error) {
      failure = error;
      nextTryAt = clock.monotonic() + backoffDelay(RETRY, ++failures);
      onFailure(error);
    } finally {
      inFlight = undefined;
      patience = undefined;
    }
  };
  const refresh = () => (inFlight ??= attempt());
  const first = async (): Promise<T> => {
    if (inFlight !== undefined || clock.monotonic() >= nextTryAt) await refresh();
    if (value === undefined) throw failure;
    return value.is;
  };

  const waitFor = (load: Promise<void>) => {
    const ended = new AbortController();
    const late = clock.sleep(PATIENCE_MS, ended.signal).catch(() => undefined);
    return Promise.race([late, load.finally(() => ended.abort())]);
  };

  return {
    get: () => {
      if (value === undefined) return first();
      const now = clock.monotonic();
      const tooOldMs = now - value.at - freshMs;
      if (tooOldMs >= 0 && now >= nextTryAt) void refresh();
      if (tooOldMs < GRACE_MS || inFlight === undefined) return value.is;
      patience ??= { until: now + PATIENCE_MS, over: waitFor(inFlight) };
      const old = value.is;
      return now < patience.until ? patience.over.then(() => value?.is ?? old) : old;
    },
    refresh,
  };
}
