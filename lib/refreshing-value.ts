import { type BackoffRange, backoffDelay } from "./backoff.ts";
import type { Clock } from "./clock.ts";
import { raceAbort, withTimeout } from "./deadline.ts";
import type { Count } from "./metrics/open-metrics.ts";

/** A value of another server. The times count from the start of its load. */
export type LoadedValue<T> = {
  value: T;
  /** How long calls do not load it again. */
  freshMs: number;
  /** How long it may be used. Default: until the next one is loaded. */
  lifeMs?: number;
};

export type RefreshingValue<T> = {
  /**
   * Immediate while the value is fresh. A call after that starts a load in the background, and gets the value that there is while it may be used. Without one
   * it waits for the load, or rejects with its error.
   */
  get(signal?: AbortSignal): T | Promise<T>;
  /** The next value, or the current one if its load began less than `newMs` ago. Rejects with the error of the load, also during the pause after it. */
  renew(newMs: number, signal?: AbortSignal): Promise<T>;
  /** Rejects waiting callers with the reason. */
  close(reason: Error): void;
};

export type RefreshCounts = Record<"done" | "failed", Pick<Count, "add">>;

type RefreshOptions<T> = {
  /** Must reject as soon as the signal aborts. Callers do not abort it. */
  load(signal: AbortSignal, before: T | undefined): Promise<LoadedValue<T>>;
  clock: Clock;
  /** From this age beyond `freshMs` on, callers wait for the load, but not longer than `patienceMs`. Default: they do not wait. */
  waiting?: { graceMs: number; patienceMs: number };
  /** Pauses after failures. Meanwhile callers get the value that may be used, or the same error. */
  retry?: BackoffRange;
  /** Load it also without callers. */
  ahead?: boolean;
  counts?: RefreshCounts | undefined;
  onFailed?(error: unknown): void;
};

const RETRY: BackoffRange = { firstMs: 500, longestMs: 15_000 };

/** A value that is loaded at its first use, and again when it is no longer fresh. Simultaneous callers share one load. */
export function openRefreshingValue<T>(options: RefreshOptions<T>): RefreshingValue<T> {
  const { clock, waiting, retry = RETRY } = options;
  const closing = new AbortController();
  let current: { value: T; from: number; freshUntil: number; until: number } | undefined;
  let failed: { error: unknown; times: number; until: number } | undefined;
  let loading: Promise<T> | undefined;
  /** Callers that wait for one load share one time limit, which begins with the first of them. */
  let patience: { until: number; value: Promise<T> } | undefined;
  let cancelTimer = () => {};

  const load = async (): Promise<T> => {
    const from = clock.monotonic();
    try {
      const { value, freshMs, lifeMs = Infinity } = await options.load(closing.signal, current?.value);
      current = { value, from, freshUntil: from + freshMs, until: from + lifeMs };
      failed = undefined;
      options.counts?.done.add();
      plan(current.freshUntil);
      return value;
    } catch (error) {
      const times = (failed?.times ?? 0) + 1;
      failed = { error, times, until: clock.monotonic() + backoffDelay(retry, times) };
      if (!closing.signal.aborted) {
        options.counts?.failed.add();
        options.onFailed?.(error);
      }
      plan(failed.until + retry.longestMs);
      throw error;
    }
  };

  const plan = (at: number) => {
    cancelTimer();
    if (options.ahead && !closing.signal.aborted) cancelTimer = clock.after(at - clock.monotonic(), () => void refresh());
  };

  /** The load that is under way or starts now; undefined during a pause. */
  const refresh = (): Promise<T> | undefined => {
    if (loading !== undefined || (failed && clock.monotonic() < failed.until)) return loading;
    loading = load().finally(() => {
      loading = undefined;
      patience = undefined;
    });
    // Its callers may have left.
    loading.catch(() => {});
    return loading;
  };

  const refreshed = (signal: AbortSignal | undefined): Promise<T> => {
    const next = refresh() ?? Promise.reject(failed?.error);
    return signal === undefined ? next : raceAbort(next, signal);
  };

  return {
    get: (signal) => {
      const now = clock.monotonic();
      if (current === undefined || now >= current.until) return refreshed(signal);
      const { value, freshUntil } = current;
      const next = now < freshUntil ? undefined : refresh();
      if (next === undefined || waiting === undefined || now < freshUntil + waiting.graceMs) return value;
      const { patienceMs: ms } = waiting;
      patience ??= { until: now + ms, value: withTimeout({ clock, ms, overdue }, () => next).catch(() => value) };
      return now < patience.until ? patience.value : value;
    },
    renew: async (newMs, signal) => {
      if (current && clock.monotonic() - current.from < newMs) return current.value;
      return refreshed(signal);
    },
    close: (reason) => {
      cancelTimer();
      closing.abort(reason);
    },
  };
}

function overdue(): Error {
  return new Error("The load takes longer than callers wait");
}
