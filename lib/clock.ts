import { performance } from "node:perf_hooks";

/** The only source of time and timers. It is a parameter everywhere, so that a test can stop and advance it. */
export type Clock = {
  /** Milliseconds since the epoch, for what is stored or shown. */
  now(): number;
  /** Milliseconds on a scale that never jumps, for measuring how long something took. */
  monotonic(): number;
  /** Runs `task` once, `ms` from now; the returned function cancels it. */
  after(ms: number, task: () => void): () => void;
  /** Resolves after `ms`, or rejects with the signal's reason as soon as it aborts. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
};

/** The largest delay that `setTimeout` takes; beyond it, it would fire at once. */
const LONGEST_DELAY = 2 ** 31 - 1;

export function clockFrom(source: Pick<Clock, "now" | "monotonic" | "after">): Clock {
  return {
    ...source,
    sleep: (ms, signal) =>
      new Promise((resolve, reject) => {
        if (signal?.aborted) return reject(signal.reason as Error);
        const onAbort = () => {
          cancel();
          reject(signal?.reason as Error);
        };
        const cancel = source.after(ms, () => {
          signal?.removeEventListener("abort", onAbort);
          resolve();
        });
        signal?.addEventListener("abort", onAbort, { once: true });
      }),
  };
}

export function systemClock(): Clock {
  return clockFrom({
    now: () => Date.now(),
    monotonic: () => performance.now(),
    after: (ms, task) => {
      const timer = setTimeout(task, Math.min(ms, LONGEST_DELAY));
      return () => clearTimeout(timer);
    },
  });
}

/** True at the first call, and then at most once in `ms`: for log lines that others may cause by the thousand. */
export function onceEvery(ms: number, clock: Pick<Clock, "monotonic">): () => boolean {
  let last = Number.NEGATIVE_INFINITY;
  return () => {
    const now = clock.monotonic();
    if (now - last < ms) return false;
    last = now;
    return true;
  };
}

/** `now` is on the clock's monotonic scale. */
export type Ticking = { tick(now: number): void };

/**
 * One coarse timer for all connections of a process. A connection stores its deadline, which costs nothing, and compares it at each tick. Limits count
 * in seconds, and a timer for each request would cost more than reading its head.
 */
export type Ticker = {
  /** The time of the last tick, or a later one; while nothing is added, the current one. */
  readonly now: number;
  add(one: Ticking): void;
  delete(one: Ticking): void;
};

const TICK_MS = 100;

/** It runs while something is added. */
export function createTicker(clock: Clock): Ticker {
  const all = new Set<Ticking>();
  let running = false;
  let last = 0;

  const tick = () => {
    last = clock.monotonic();
    for (const one of all) one.tick(last);
    running = all.size > 0;
    if (running) clock.after(TICK_MS, tick);
  };
  return {
    // What is about to be added calculates its deadlines first.
    get now() {
      return running ? last : clock.monotonic();
    },
    add: (one) => {
      all.add(one);
      if (running) return;
      running = true;
      last = clock.monotonic();
      clock.after(TICK_MS, tick);
    },
    delete: (one) => void all.delete(one),
  };
}
