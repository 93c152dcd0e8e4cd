import type { Clock } from "../../clock.ts";

export type Spaced = {
  /** Does it at once, or where it was done less than `ms` ago, once when that is over. */
  call(): void;
  cancel(): void;
};

/** Has something done at most once in `ms`, however often it is asked for. */
export function spaced(clock: Pick<Clock, "after">, ms: number, act: () => void): Spaced {
  let isWaiting = false;
  let isAsked = false;
  let cancel = () => {};
  const call = () => {
    isAsked = isWaiting;
    if (isWaiting) return;
    isWaiting = true;
    cancel = clock.after(ms, () => {
      isWaiting = false;
      if (isAsked) call();
    });
    act();
  };
  return { call, cancel: () => cancel() };
}
