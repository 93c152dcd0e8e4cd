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

/** What is looked at with every tick; `now` is on the clock's monotonic scale. */
export type Ticking = { tick(now: number): void };

/**
 * One timer for all connections of a process. What has a time limit notes when it is over, which costs nothing, and learns that it is at
 * the next tick: limits here count in seconds, and a timer for each request would cost more than reading its head.
 */
export type Ticker = {
  /** The time of the last tick, or a later one. */
  readonly now: number;
  add(one: Ticking): void;
  delete(one: Ticking): void;
};

const EVERY_MS = 100;

export function openTicker(clock: Clock): Ticker {
  const all = new Set<Ticking>();
  let now = clock.monotonic();
  let running = false;

  const tick = () => {
    now = clock.monotonic();
    for (const one of all) one.tick(now);
    running = all.size > 0;
    if (running) clock.after(EVERY_MS, tick);
  };

  return {
    get now() {
      return now;
    },
    add: (one) => {
      all.add(one);
      if (running) return;
      running = true;
      now = clock.monotonic();
      clock.after(EVERY_MS, tick);
    },
    delete: (one) => void all.delete(one),
  };
}
