import type { Clock } from "../../lib/clock.ts";

/** What the two clocks may differ by between two looks without having been set; slewing makes far less of it. */
const JUMP_MS = 1_000;

/**
 * Since when (epoch ms) the clock has gone on evenly: since it was opened, or was last set on. Waiting counts from there, so that a jump, or a machine
 * that slept, makes nothing time out or fall asleep at once.
 */
export function steadySince(clock: Pick<Clock, "now" | "monotonic">): () => number {
  let since = clock.now();
  let offset = since - clock.monotonic();
  return () => {
    const now = clock.now();
    const seen = now - clock.monotonic();
    if (seen - offset > JUMP_MS) since = now;
    // Set back: the same moment, as the clock has it now.
    if (offset - seen > JUMP_MS) since += seen - offset;
    offset = seen;
    return since;
  };
}
