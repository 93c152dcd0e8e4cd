import type { Clock } from "../lib/clock.ts";
import type { Log } from "../lib/log.ts";

/** How long a berth that could not hand over waits for the old program to be put back, before it starts its control again; and between two attempts. */
const RESUME_MS = 10_000;

/**
 * Has a berth that could not hand over go on by itself, as often as it takes: what is left of the new one may still hold the data, for as long as it migrates the
 * store, and ends only then. `isHandingOver`: the next upgrade has begun, and has the data.
 */
export function resumeLater(parts: {
  resume(): Promise<void>;
  isHandingOver(): boolean;
  clock: Pick<Clock, "after">;
  log: Pick<Log, "error">;
}): void {
  const { resume, isHandingOver, clock, log } = parts;
  clock.after(RESUME_MS, () => {
    if (isHandingOver()) return;
    resume().catch((error: unknown) => {
      log.error({ err: error, retryInMs: RESUME_MS }, "control does not start again");
      resumeLater(parts);
    });
  });
}
