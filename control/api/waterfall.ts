import type { Wake } from "../store/wakes.ts";

export const PHASES = ["queue", "start", "pull", "create", "boot", "connect"] as const;

/** One bar: `start` counts from when the wake was asked for; both in milliseconds. */
export type Bar = { name: (typeof PHASES)[number]; start: number; duration: number };

/**
 * The parts of a wake one after the other, as far as they are known. Of a start that is under way, or failed, the driver has not said what took
 * how long: it is one bar, `start`. `now` is epoch ms.
 */
export function waterfall({ askedOn, begunOn, endedOn, phases, connectMs }: Wake, now: number): Bar[] {
  const until = endedOn ?? Math.max(now, askedOn);
  const queue = { name: "queue", start: 0, duration: Math.max(0, (begunOn ?? until) - askedOn) } as const;
  if (begunOn === undefined) return [queue];
  const rest: [name: Bar["name"], ms: number | undefined][] =
    phases === undefined
      ? [["start", Math.max(0, until - begunOn)]]
      : [
          ["pull", phases.pull],
          ["create", phases.create],
          ["boot", phases.boot],
          ["connect", connectMs],
        ];
  const bars: Bar[] = [queue];
  let start = queue.duration;
  for (const [name, duration] of rest) {
    if (duration === undefined) continue;
    bars.push({ name, start: rounded(start), duration: rounded(duration) });
    start += duration;
  }
  return bars;
}

/** To tenths: clocks count finer than anybody reads. */
function rounded(ms: number): number {
  return Math.round(ms * 10) / 10;
}
