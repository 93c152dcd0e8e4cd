import type { Clock } from "../../lib/clock.ts";

/** Numbers from 0 on that are given to containers, the one that was longest unused first. */
export type Rotation = {
  isFull(): boolean;
  /** A free one; undefined where all are in use. It counts as in use until `release`, or until a list shows that it is not. */
  take(): number | undefined;
  /** It rests before it is given again. */
  release(number: number): void;
  /** What the engine showed in use, by a list that began at `since` (monotonic): all else that was taken before then rests. */
  seen(inUse: ReadonlySet<number>, since: number): void;
};

/** How fast the start moves on by itself: 4 096 addresses are gone round in 17 minutes. */
const STEP_MS = 250;

/**
 * A number that was in use is not given again for `restMs`, so that a request, or a kept connection, that is still on its way to the container before
 * never reaches the one after. The rest is kept in memory, and lost when the process ends. So the rotation begins at the wall clock's place: a
 * process that was started anew begins behind nearly all that the one before gave in its last minutes, since that one went the same way, at least
 * as fast as the clock. What it began with and is still there, the engine's list shows. What remains is a container that lived for a whole turn,
 * ended within `restMs` before the restart, and whose number is the very next: one case in `size` for each such container.
 */
export function createRotation(size: number, restMs: number, clock: Clock): Rotation {
  const takenAt = new Map<number, number>();
  const restsUntil = new Map<number, number>();
  let last = -1;

  const rest = (number: number) => {
    takenAt.delete(number);
    // Last in the map: the first one has rested longest.
    restsUntil.delete(number);
    restsUntil.set(number, clock.monotonic() + restMs);
  };
  const wake = () => {
    const now = clock.monotonic();
    for (const [number, until] of restsUntil) {
      if (until > now) return;
      restsUntil.delete(number);
    }
  };
  const give = (number: number) => {
    restsUntil.delete(number);
    takenAt.set(number, clock.monotonic());
    return number;
  };

  return {
    isFull: () => takenAt.size >= size,
    take: () => {
      wake();
      const first = Math.max(last + 1, Math.floor(clock.now() / STEP_MS));
      for (let at = first; at < first + size; at++) {
        const number = at % size;
        if (takenAt.has(number) || restsUntil.has(number)) continue;
        last = at;
        return give(number);
      }
      // A small network where much was started lately: one that rested a while is better than none.
      const [rested] = restsUntil.keys();
      return rested === undefined ? undefined : give(rested);
    },
    release: rest,
    seen: (inUse, since) => {
      for (const [number, at] of takenAt) if (at < since && !inUse.has(number)) rest(number);
      for (const number of inUse) if (!takenAt.has(number)) give(number);
    },
  };
}
