import type { Clock } from "../../lib/clock.ts";

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
