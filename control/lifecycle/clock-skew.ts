import { isPassing } from "./deadlines.ts";
import { containerKey, imageKey, type Rooms } from "./rooms.ts";

/**
 * Rows of a time that has not come: the clock was set back since. What waits in them counts from now, and not from when that time comes again, which
 * may be hours.
 */
export function setBack({ store, clock, limits, queue, changes }: Rooms): void {
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
