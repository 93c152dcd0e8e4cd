import type { Clock } from "./clock.ts";
import { backoffDelay } from "./backoff.ts";
import { Fault } from "./fault.ts";
import type { Count } from "./metrics/open-metrics.ts";
import { raceAbort, withTimeout } from "./deadline.ts";

/** `lifeMs`: how long it is valid; `renewMs`: when to request the next one. Both count from the request. */
export type TokenLease<T> = { value: T; lifeMs: number; renewMs: number };

export type RefreshingToken<T> = {
  /** Immediate while a token is valid. It is renewed in the background when that is due; if that fails, the valid one stays in use. */
  get(signal: AbortSignal): T | Promise<T>;
  /** After a refusal: the next one, or the same if it is so new that the refusal was for an older one. */
  renew(signal: AbortSignal): Promise<T>;
  close(): void;
};

export type RefreshCounts = { done: Count; failed: Count };

/** Callers that were refused at the same time get one new credential. */
const NEW_MS = 5_000;
const RETRY = { firstMs: 500, longestMs: 15_000 };

/**
 * A token that expires and is requested again. Simultaneous callers share one request, which continues when a caller aborts, for at most `timeoutMs`. After a
 * failure the next request waits for a pause that doubles up to 15 s; meanwhile callers get the same fault. With `ahead` it is renewed also without callers.
 */
export function openRefreshingToken<T>(options: {
  request(signal: AbortSignal): Promise<TokenLease<T>>;
  timeoutMs: number;
  overdue(): Fault;
  clock: Clock;
  ahead?: boolean;
  /** Requests by outcome. */
  counts?: RefreshCounts | undefined;
  onFailed?(error: unknown): void;
}): RefreshingToken<T> {
  const { clock } = options;
  const closing = new AbortController();
  let current: { value: T; from: number; renewAt: number; until: number } | undefined;
  let requesting: Promise<T> | undefined;
  let failed: { error: unknown; until: number; times: number } | undefined;
  let cancelTimer = () => {};

  const request = (): Promise<T> => {
    if (requesting) return requesting;
    if (failed && clock.monotonic() < failed.until) return Promise.reject(failed.error);
    requesting = requestOnce().finally(() => {
      requesting = undefined;
    });
    requesting.catch(() => {});
    return requesting;
  };

  const requestOnce = async (): Promise<T> => {
    const from = clock.monotonic();
    const { timeoutMs: ms, overdue } = options;
    try {
      const { value, lifeMs, renewMs } = await withTimeout({ clock, ms, overdue, signal: closing.signal }, options.request);
      current = { value, from, renewAt: from + renewMs, until: from + lifeMs };
      failed = undefined;
      options.counts?.done.add();
      plan(current.renewAt);
      return value;
    } catch (error) {
      const times = (failed?.times ?? 0) + 1;
      failed = { error, until: clock.monotonic() + backoffDelay(RETRY, times), times };
      if (!closing.signal.aborted) {
        options.counts?.failed.add();
        options.onFailed?.(error);
      }
      plan(failed.until + RETRY.longestMs);
      throw error;
    }
  };

  const plan = (at: number) => {
    cancelTimer();
    if (options.ahead && !closing.signal.aborted) cancelTimer = clock.after(at - clock.monotonic(), () => void request().catch(() => {}));
  };

  return {
    get: (signal) => {
      const now = clock.monotonic();
      if (current && now < current.until) {
        if (now >= current.renewAt) request().catch(() => {});
        return current.value;
      }
      return raceAbort(request(), signal);
    },
    renew: async (signal) => {
      if (current && clock.monotonic() - current.from < NEW_MS) return current.value;
      return raceAbort(request(), signal);
    },
    close: () => {
      cancelTimer();
      closing.abort(new Fault("UPSTREAM_CREDENTIAL_FAILED", "The registry proxy is stopping."));
    },
  };
}
