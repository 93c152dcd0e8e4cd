import type { Clock } from "../../clock.ts";

/** A value that another server has: fetched when it is first wanted, and kept while that server is away. */
export type Fetched<T> = {
  /** At once where it is known. Rejects with what the last attempt failed with, where it was never had. */
  get(): T | Promise<T>;
  /** Fetches it anew; whoever asks meanwhile shares it. Resolves also where that failed. */
  refresh(): Promise<void>;
};

const FIRST_RETRY_MS = 500;
const LONGEST_RETRY_MS = 30_000;

/** `freshMs`: how long a value counts as fresh; an older one is used on, and fetched anew beside that. Failures are tried again with back-off. */
export function openFetched<T>(parts: {
  fetch(before: T | undefined): Promise<T>;
  freshMs: number;
  clock: Clock;
  onFailure(error: unknown): void;
}): Fetched<T> {
  const { fetch, freshMs, clock, onFailure } = parts;
  let value: { is: T; at: number } | undefined;
  let failure: unknown;
  let nextTryAt = -Infinity;
  let delay = FIRST_RETRY_MS;
  let flight: Promise<void> | undefined;

  const attempt = async () => {
    try {
      value = { is: await fetch(value?.is), at: clock.monotonic() };
      delay = FIRST_RETRY_MS;
      nextTryAt = -Infinity;
    } catch (error) {
      failure = error;
      nextTryAt = clock.monotonic() + delay;
      delay = Math.min(delay * 2, LONGEST_RETRY_MS);
      onFailure(error);
    } finally {
      flight = undefined;
    }
  };
  const refresh = () => (flight ??= attempt());
  const first = async (): Promise<T> => {
    if (flight !== undefined || clock.monotonic() >= nextTryAt) await refresh();
    if (value === undefined) throw failure;
    return value.is;
  };

  return {
    get: () => {
      if (value === undefined) return first();
      const now = clock.monotonic();
      if (now - value.at >= freshMs && now >= nextTryAt) void refresh();
      return value.is;
    },
    refresh,
  };
}
