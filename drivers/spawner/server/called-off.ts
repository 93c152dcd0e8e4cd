import type { Clock } from "../../../lib/clock.ts";

/** A call and its calling off come over two connections, in whichever order; by then both have come. Milliseconds. */
const LATE_MS = 120_000;
const MOST = 10_000;

/** Calls that were called off, perhaps before they came. */
export type CalledOff = { add(call: string): void; has(call: string): boolean };

export function openCalledOff(clock: Clock): CalledOff {
  /** The oldest first. */
  const since = new Map<string, number>();
  return {
    has: (call) => since.has(call),
    add: (call) => {
      const now = clock.monotonic();
      for (const [one, at] of since) {
        if (since.size < MOST && now - at < LATE_MS) break;
        since.delete(one);
      }
      since.set(call, now);
    },
  };
}
