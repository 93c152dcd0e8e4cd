import { backoffDelay } from "./backoff.ts";
import type { Clock } from "./clock.ts";

/** A value that another server has: fetched when it is first wanted, and kept while that server is away. */
export type RevalidatingValue<T> = {
  /** At once while it is fresh. Rejects with what the last attempt failed with, where it was never had. */
  get(): T | Promise<T>;
  /** Fetches it anew; whoever asks meanwhile shares it. Resolves also where that failed. */
  refresh(): Promise<void>;
};

const RETRY = { firstMs: 500, longestMs: 30_000 };
/** For so long after it was fresh a value is used on while it is fetched anew, so that who asks often never waits. */
const GRACE_MS = 10_000;
/** Who comes after a quiet time waits for what is true now, but not for a server that hangs. */
const PATIENCE_MS = 2_000;

/**
 * `freshMs`: how long a value counts as fresh. One that is older by more than 10 s is used only where fetching it anew fails or takes longer than
 * 2 s. Failures are tried again with back-off.
 */
export function createRevalidatingValue<T>(parts: {
  fetch(before: T | undefined): Promise<T>;
  freshMs: number;
  clock: Clock;
  onFailure(error: unknown): void;
}): RevalidatingValue<T> {
  const { fetch, freshMs, clock, onFailure } = parts;
  let value: { is: T; at: number } | undefined;
  let failure: unknown;
  let nextTryAt = -Infinity;
  let failures = 0;
  let flight: Promise<void> | undefined;
  /** Of the flight: all who wait for it do so together, from the first of them on. */
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
      flight = undefined;
      patience = undefined;
    }
  };
  const refresh = () => (flight ??= attempt());
  const first = async (): Promise<T> => {
    if (flight !== undefined || clock.monotonic() >= nextTryAt) await refresh();
    if (value === undefined) throw failure;
    return value.is;
  };

  const waitFor = (under: Promise<void>) => {
    const landed = new AbortController();
    const late = clock.sleep(PATIENCE_MS, landed.signal).catch(() => undefined);
    return Promise.race([late, under.finally(() => landed.abort())]);
  };

  return {
    get: () => {
      if (value === undefined) return first();
      const now = clock.monotonic();
      const tooOldMs = now - value.at - freshMs;
      if (tooOldMs >= 0 && now >= nextTryAt) void refresh();
      if (tooOldMs < GRACE_MS || flight === undefined) return value.is;
      patience ??= { until: now + PATIENCE_MS, over: waitFor(flight) };
      const known = value.is;
      return now < patience.until ? patience.over.then(() => value?.is ?? known) : known;
    },
    refresh,
  };
}
