import { PASSING_CONTAINER_STATES } from "./container-states.ts";
import type { BriefContainer } from "../store/containers.ts";
import type { Image } from "../store/entities.ts";
import { containerKey, imageKey, type Rooms } from "./rooms.ts";

/**
 * Rows of a time that has not come: the clock was set back since. What waits in them counts from now, and not from when that time comes again, which
 * may be hours.
 */
export function setBack({ store, clock, limits, queue, changes }: Rooms, images: readonly Image[], containers: readonly BriefContainer[]): void {
  const now = clock.now();
  for (const { id, since } of images) {
    if (since <= now) continue;
    store.images.update(id, { since: now });
    queue.add(imageKey(id));
  }
  for (const { id, state, since, notBefore } of containers) {
    const waits = (PASSING_CONTAINER_STATES as readonly string[]).includes(state) || state === "STARTED";
    const patch = {
      ...(waits && since > now ? { since: now } : {}),
      ...(notBefore > now + limits.startRetry.longestMs ? { notBefore: now } : {}),
    };
    if (Object.keys(patch).length === 0) continue;
    const row = store.containers.update(id, patch);
    if (row) changes.publish(row);
    queue.add(containerKey(id));
  }
}
