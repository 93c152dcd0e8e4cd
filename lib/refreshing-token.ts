import type { Clock } from "./clock.ts";
import { backoffDelay } from "./backoff.ts";
import { Fault } from "./fault.ts";
import type { Count } from "./metrics/open-metrics.ts";
import { raceAbort, withTimeout } from "./deadline.ts";

/** `lifeMs`: how long it may be used; `renewMs`: when to look for the next one. Both count from when it was asked for. */
export type TokenLease<T> = { value: T; lifeMs: number; renewMs: number };

export type RefreshingToken<T> = {
  /** At once while one is held, renewed in the background once that is due; one that still lasts serves on while that fails. */
  get(signal: AbortSignal): T | Promise<T>;
  /** It was refused: the next one, or the same where it is so new that whoever refused it cannot have meant it. */
  renew(signal: AbortSignal): Promise<T>;
  close(): void;
};

export type RefreshCounts = { done: Count; failed: Count };

/** All who were refused at the same time shall get the one credential that the first of them brought about. */
const NEW_MS = 5_000;
const RETRY = { firstMs: 500, longestMs: 15_000 };

/**
 * Something that runs out and is asked for again: by one ask at a time however many wait, which nobody's leaving ends, within `askMs`, and
 * after a failure not before a pause that doubles up to 15 s: in it the same fault is the answer. With `ahead` it is renewed when that is due
 * even where nobody asks.
 */
export function openRefreshingToken<T>(options: {
  ask(signal: AbortSignal): Promise<TokenLease<T>>;
  askMs: number;
  overdue(): Fault;
  clock: Clock;
  ahead?: boolean;
  /** How often it was asked for, by how that went. */
  counts?: RefreshCounts | undefined;
  onFailed?(error: unknown): void;
}): RefreshingToken<T> {
  const { clock } = options;
  const closing = new AbortController();
  let held: { value: T; from: number; renewAt: number; until: number } | undefined;
  let asking: Promise<T> | undefined;
  let failed: { error: unknown; until: number; times: number } | undefined;
  let cancelTimer = () => {};

  const ask = (): Promise<T> => {
    if (asking) return asking;
    if (failed && clock.monotonic() < failed.until) return Promise.reject(failed.error);
    asking = askOnce().finally(() => {
      asking = undefined;
    });
    asking.catch(() => {});
    return asking;
  };

  const askOnce = async (): Promise<T> => {
    const from = clock.monotonic();
    const { askMs: ms, overdue } = options;
    try {
      const { value, lifeMs, renewMs } = await withTimeout({ clock, ms, overdue, signal: closing.signal }, options.ask);
      held = { value, from, renewAt: from + renewMs, until: from + lifeMs };
      failed = undefined;
      options.counts?.done.add();
      plan(held.renewAt);
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
    if (options.ahead && !closing.signal.aborted) cancelTimer = clock.after(at - clock.monotonic(), () => void ask().catch(() => {}));
  };

  return {
    get: (signal) => {
      const now = clock.monotonic();
      if (held && now < held.until) {
        if (now >= held.renewAt) ask().catch(() => {});
        return held.value;
      }
      return raceAbort(ask(), signal);
    },
    renew: async (signal) => {
      if (held && clock.monotonic() - held.from < NEW_MS) return held.value;
      return raceAbort(ask(), signal);
    },
    close: () => {
      cancelTimer();
      closing.abort(new Fault("UPSTREAM_CREDENTIAL_FAILED", "The registry proxy is stopping."));
    },
  };
}
