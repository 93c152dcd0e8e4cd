import { isPassing } from "./deadlines.ts";
import { containerKey, imageKey, type Rooms } from "./rooms.ts";
import type { Clock } from "../../lib/clock.ts";

/**
 * Rows of a time that has not come: the clock was set back since. What waits in them counts from now, and not from when that time comes again, which
 * may be hours.
 */
export function repairClockSkew({ store, clock, limits, queue, changes }: Rooms): void {
  const now = clock.now();
  const latest = now + limits.startRetry.longestMs;
  for (const { id } of store.images.ofTheFuture(now)) {
    store.images.update(id, { since: now });
    queue.add(imageKey(id));
  }
  for (const { id, state, since, notBefore } of store.containers.ofTheFuture(now, latest)) {
    const waits = since > now && (isPassing(state) || state === "STARTED");
    if (!waits && notBefore <= latest) continue;
    const row = store.containers.update(id, { ...(waits ? { since: now } : {}), ...(notBefore > latest ? { notBefore: now } : {}) });
    if (row) changes.publish(row);
    queue.add(containerKey(id));
  }
}

/** What the two clocks may differ by between two looks without having been set; slewing makes far less of it. */
const JUMP_MS = 1_000;

/**
 * Since when (epoch ms) the clock has gone on evenly: since it was opened, or was last set on. Waiting counts from there, so that a jump, or a machine
 * that slept, makes nothing time out or fall asleep at once.
 */
export function createMonotonicEpoch(clock: Pick<Clock, "now" | "monotonic">): () => number {
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
