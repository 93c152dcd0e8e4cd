import type { Image } from "../model/entities.ts";
import { asFault } from "./as-fault.ts";
import { moveImage } from "./move-image.ts";
import { resolveAside } from "./resolve-aside.ts";
import { imageKey, missingKey, type Rooms } from "./rooms.ts";

export function isMissing(image: Image | undefined): image is Image {
  return image?.state === "ERROR" && image.fault?.code === "IMAGE_NOT_FOUND";
}

/** After as long as it has been missing for, within bounds: that doubles the waits, and outlives a restart. */
export function lookForMissingLater({ clock, limits, queue }: Pick<Rooms, "clock" | "limits" | "queue">, { id, since }: Image): void {
  const { firstMs, longestMs } = limits.missingRetry;
  queue.addAfter(missingKey(id), Math.min(Math.max(clock.now() - since, firstMs), longestMs));
}

/**
 * Looks again for an image that no registry had: a push to berth's own says so at once, one past it is found here. The row stays as it is
 * until it is found; what a user or a push wishes meanwhile goes ahead as ever.
 */
export async function lookForMissing(rooms: Rooms, id: string, signal: AbortSignal): Promise<void> {
  const { store, log, queue } = rooms;
  const image = store.images.find(id);
  if (!isMissing(image)) return;
  try {
    await resolveAside(rooms, image, "found", signal);
  } catch (error) {
    signal.throwIfAborted();
    log.debug({ image: image.ref, fault: asFault(error, log).code }, "an image is still missing");
    return lookForMissingLater(rooms, image);
  }
  const now = store.images.find(id);
  if (isMissing(now) && moveImage(rooms, now, "validationWished", { fault: undefined })) queue.add(imageKey(id));
}
