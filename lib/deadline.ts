import type { Clock } from "./clock.ts";

/** `ms` and `capMs` count from the call. */
export type DeadlineOptions = {
  clock: Pick<Clock, "after" | "monotonic">;
  ms: number;
  /** How far progress may push the deadline back in all; without it, not at all. */
  capMs?: number | undefined;
  /** The reason of the abort. */
  overdue: () => Error;
  /** Runs between the deadline and the abort: the last chance to read what the abort removes. Must be brief and must not reject. */
  beforeAbort?: (() => Promise<void>) | undefined;
  /** Its abort ends the scope too, with its own reason. */
  signal?: AbortSignal | undefined;
};

/** A time limit for one piece of work. */
type Deadline = {
  /** Aborts with `overdue()` when the time is up, or with the reason of the caller's signal. */
  signal: AbortSignal;
  /** There was progress: the `ms` begin again, but never beyond the cap. */
  extend(): void;
  /** The work has ended: removes the timer and the listener. */
  close(): void;
};

export function openDeadline({ clock, ms, capMs = 0, overdue, beforeAbort, signal: parent }: DeadlineOptions): Deadline {
  const own = new AbortController();
  const lastAt = clock.monotonic() + Math.max(ms, capMs);
  const onParentAbort = () => own.abort(parent?.reason);
  let closed = false;
  const abort = () => {
    if (!closed) own.abort(overdue());
  };
  const expire = () => (beforeAbort ? void beforeAbort().then(abort) : abort());
  let cancel = clock.after(ms, expire);
  if (parent?.aborted) onParentAbort();
  else parent?.addEventListener("abort", onParentAbort, { once: true });
  return {
    signal: own.signal,
    extend: () => {
      cancel();
      cancel = clock.after(Math.max(0, Math.min(ms, lastAt - clock.monotonic())), expire);
    },
    close: () => {
      closed = true;
      cancel();
      parent?.removeEventListener("abort", onParentAbort);
    },
  };
}

/**
 * Runs a task under a time limit and the caller's signal, whichever ends first, and leaves neither a timer nor a listener behind. Rejects at once
 * with `overdue()` or the signal's reason, even where the task is slow to notice the abort.
 */
export async function withTimeout<T>(limit: DeadlineOptions, task: (signal: AbortSignal) => Promise<T>): Promise<T> {
  limit.signal?.throwIfAborted();
  const deadline = openDeadline(limit);
  try {
    return await raceAbort(task(deadline.signal), deadline.signal);
  } finally {
    deadline.close();
  }
}

/** Whether `promise` completes within `ms`: resolves as soon as it does, else after this time. Rejects if it rejects before. */
export function completesWithin(promise: Promise<unknown>, ms: number, clock: Pick<Clock, "after">): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const cancel = clock.after(ms, () => resolve(false));
    promise.then(() => resolve(true), reject).finally(cancel);
  });
}

/** Settles as `promise` does, or rejects with the signal's reason as soon as it aborts; a later result is ignored. */
export function raceAbort<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = () => reject(signal.reason as Error);
    const stopListening = () => signal.removeEventListener("abort", onAbort);
    signal.addEventListener("abort", onAbort, { once: true });
    promise.then(resolve, reject).finally(stopListening);
    if (signal.aborted) onAbort();
  });
}
