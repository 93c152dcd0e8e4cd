import type { Clock } from "../../lib/clock.ts";

export type Throttle = {
  /** Does it at once, or where it was done less than `ms` ago, once when that is over. */
  call(): void;
  close(): void;
};

/** Has something done at most once in `ms`, however often it is called. */
export function openThrottle(clock: Pick<Clock, "after">, ms: number, act: () => void): Throttle {
  let isWaiting = false;
  let isRequested = false;
  let cancel = () => {};
  const call = () => {
    isRequested = isWaiting;
    if (isWaiting) return;
    isWaiting = true;
    cancel = clock.after(ms, () => {
      isWaiting = false;
      if (isRequested) call();
    });
    act();
  };
  return { call, close: () => cancel() };
}
