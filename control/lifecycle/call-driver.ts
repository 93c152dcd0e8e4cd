import type { Clock } from "../../lib/clock.ts";
import { openDeadline } from "../../lib/deadline.ts";

/** How long a driver that was told to stop may take to clean up, before its call is left behind. */
const CLEAN_UP_MS = 10_000;

export type DriveLimit = {
  clock: Clock;
  ms: number;
  /** How far progress may push the limit back; without it, not at all. */
  capMs?: number;
  overdue: () => Error;
  /** Once the limit has passed, before the driver is told: the last chance to ask what will then be gone. Brief, and never rejects. */
  lastWords?: () => Promise<void>;
  signal: AbortSignal;
};

/**
 * Calls a driver under a limit. After an abort it waits a while for the driver to leave nothing behind, so that the next call for
 * the same service does not meet the last one; then it rejects with the abort's reason, whatever the driver says.
 */
export async function callDriver<T>(limit: DriveLimit, task: (signal: AbortSignal, progressed: () => void) => Promise<T>): Promise<T> {
  const deadline = openDeadline({ ...limit, beforeAbort: limit.lastWords });
  let cancelPatience = () => {};
  const abandoned = new Promise<never>((_, reject) => {
    const onAbort = () => (cancelPatience = limit.clock.after(CLEAN_UP_MS, () => reject(deadline.signal.reason as Error)));
    if (deadline.signal.aborted) onAbort();
    else deadline.signal.addEventListener("abort", onAbort, { once: true });
  });
  try {
    deadline.signal.throwIfAborted();
    return await Promise.race([task(deadline.signal, deadline.extend), abandoned]);
  } catch (error) {
    deadline.signal.throwIfAborted();
    throw error;
  } finally {
    cancelPatience();
    deadline.close();
  }
}
