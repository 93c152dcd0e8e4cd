import type { Clock } from "../../clock.ts";
import { type Retry, retryDelay } from "./retry-delay.ts";

/**
 * Says "look at X again": however often a key is added, it is worked on once, by one worker at a time. A key that is added while
 * it is worked on is worked on once more; one whose work fails comes back with back-off.
 */
export type WorkQueue = {
  add(key: string): void;
  /** The earliest of all pending times counts. */
  addAfter(key: string, ms: number): void;
  /** Keys that wait for a worker, and those that have one. */
  depth(): { waiting: number; running: number };
  /** Takes no more work, aborts what runs and resolves when it has ended. */
  close(): Promise<void>;
};

type Entry = {
  queued: boolean;
  running: boolean;
  /** Added while running. */
  again: boolean;
  failures: number;
  timer: { at: number; cancel: () => void } | undefined;
};

export function openWorkQueue(options: {
  work: (key: string, signal: AbortSignal) => Promise<void>;
  failed: (key: string, error: unknown, retryInMs: number) => void;
  clock: Clock;
  concurrency: number;
  retry: Retry;
  random: () => number;
}): WorkQueue {
  const { clock } = options;
  const entries = new Map<string, Entry>();
  const waiting: string[] = [];
  const running = new Set<Promise<void>>();
  const stop = new AbortController();

  const entryOf = (key: string): Entry => {
    const known = entries.get(key);
    if (known) return known;
    const fresh: Entry = { queued: false, running: false, again: false, failures: 0, timer: undefined };
    entries.set(key, fresh);
    return fresh;
  };

  const add = (key: string) => {
    if (stop.signal.aborted) return;
    const entry = entryOf(key);
    entry.timer?.cancel();
    entry.timer = undefined;
    if (entry.running) entry.again = true;
    else if (!entry.queued) {
      entry.queued = true;
      waiting.push(key);
      // Never within the caller's own turn: that may be inside a transaction.
      queueMicrotask(pump);
    }
  };

  const addAfter = (key: string, ms: number) => {
    if (stop.signal.aborted) return;
    const entry = entryOf(key);
    const at = clock.monotonic() + ms;
    if (entry.queued || (entry.timer && entry.timer.at <= at)) return;
    entry.timer?.cancel();
    entry.timer = { at, cancel: clock.after(ms, () => add(key)) };
  };

  const pump = () => {
    while (running.size < options.concurrency && !stop.signal.aborted) {
      const key = waiting.shift();
      if (key === undefined) return;
      const run = work(key).finally(() => {
        running.delete(run);
        pump();
      });
      running.add(run);
    }
  };

  const work = async (key: string) => {
    const entry = entryOf(key);
    entry.queued = false;
    entry.running = true;
    entry.again = false;
    let retryInMs: number | undefined;
    try {
      await options.work(key, stop.signal);
      entry.failures = 0;
    } catch (error) {
      if (stop.signal.aborted) return;
      entry.failures++;
      retryInMs = retryDelay(options.retry, entry.failures, options.random);
      options.failed(key, error, retryInMs);
    } finally {
      entry.running = false;
    }
    if (entry.again) add(key);
    else if (retryInMs !== undefined) addAfter(key, retryInMs);
    else if (!entry.timer) entries.delete(key);
  };

  return {
    add,
    addAfter,
    depth: () => ({ waiting: waiting.length, running: running.size }),
    close: async () => {
      stop.abort(new Error("the work queue is closed"));
      for (const entry of entries.values()) entry.timer?.cancel();
      await Promise.allSettled(running);
    },
  };
}
