import type { Image } from "../model/entities.ts";
import { asFault } from "./failures.ts";
import { moveImage } from "./moves.ts";
import { imageKey, missingKey, type Rooms, aheadKey } from "./rooms.ts";
import { join } from "node:path";
import type { ImageSource, ResolvedImage } from "../../drivers/driver.ts";
import { Fault } from "../../lib/fault.ts";
import { callDriver } from "./call-driver.ts";
import { withoutRegistryHost } from "../model/names.ts";
import type { LifecycleRequests } from "./desired-state.ts";

export function isMissing(image: Image | undefined): image is Image {
  return image?.state === "ERROR" && image.fault?.code === "IMAGE_NOT_FOUND";
}

/** After as long as it has been missing for, within bounds: that doubles the waits, and outlives a restart. */
export function scheduleMissingRetry({ clock, limits, queue }: Pick<Rooms, "clock" | "limits" | "queue">, { id, since }: Image): void {
  const { firstMs, longestMs } = limits.missingRetry;
  queue.addAfter(missingKey(id), Math.min(Math.max(clock.now() - since, firstMs), longestMs));
}

/**
 * Looks again for an image that no registry had: a push to berth's own says so at once, one past it is found here. The row stays as it is
 * until it is found; what a user or a push wishes meanwhile goes ahead as ever.
 */
export async function retryMissingImage(rooms: Rooms, id: string, signal: AbortSignal): Promise<void> {
  const { store, log, queue } = rooms;
  const image = store.images.find(id);
  if (!isMissing(image)) return;
  try {
    await resolveInBackground(rooms, image, "found", signal);
  } catch (error) {
    signal.throwIfAborted();
    log.debug({ image: image.ref, fault: asFault(error, log).code }, "an image is still missing");
    return scheduleMissingRetry(rooms, image);
  }
  const now = store.images.find(id);
  if (isMissing(now) && moveImage(rooms, now, "validationWished", { fault: undefined })) queue.add(imageKey(id));
}

/** What a driver is given to find an image by. */
export function imageSource({ filesFolder }: Pick<Rooms, "filesFolder">, { ref, files }: Image): ImageSource {
  return { ref, ...(files === "" ? {} : { folder: join(filesFolder, files) }) };
}

/** Asks the driver for an image beside its row, which tells nothing of that. `done` is what it was to be: "found", "pulled". Faults: VALIDATION_TIMED_OUT, and those of `resolve`. */
export function resolveInBackground(rooms: Rooms, image: Image, done: string, signal: AbortSignal): Promise<ResolvedImage> {
  const { driver, clock, limits } = rooms;
  const overdue = () =>
    new Fault("VALIDATION_TIMED_OUT", `${image.ref} was not ${done} within ${Math.round(limits.statusMs / 1000)} s without progress.`);
  return callDriver({ clock, ms: limits.statusMs, capMs: limits.pullCapMs, overdue, signal }, (call, progressed) =>
    driver.resolve(imageSource(rooms, image), { signal: call, onPull: progressed }),
  );
}

/**
 * Brings what a mutable tag points at now to the engine, so that the next start finds it there. Nothing depends on it: the row stays as it is,
 * what runs goes on, and where it fails, that start pulls for itself.
 */
export async function prefetchImage(rooms: Rooms, id: string, signal: AbortSignal): Promise<void> {
  const { store, log } = rooms;
  const image = store.images.find(id);
  // Whoever validates it now pulls it, too.
  if (image?.state !== "READY") return;
  try {
    await resolveInBackground(rooms, image, "pulled", signal);
    log.info({ image: image.ref }, "what was pushed was pulled ahead of its start");
  } catch (error) {
    signal.throwIfAborted();
    const { code, message } = asFault(error, log);
    log.info({ image: image.ref, fault: code, reason: message }, "what was pushed could not be pulled ahead; its start will try again");
  }
}

/** An image as a registry names it: `datagrok/x` and a tag or a digest. */
export type PushedImage = { repository: string; reference: string };

/**
 * What waits for an image that has just come to a registry is validated at once. What already runs is left to whoever publishes it anew, or starts
 * it again: for those a tag that may move is only pulled, where the engine is one that images are pulled to. Other tags are what they were.
 */
export function handlePushedImage(
  { store, queue, driver }: Pick<Rooms, "store" | "queue" | "driver">,
  { requestValidation: wishValidation }: Pick<LifecycleRequests, "requestValidation">,
  pushed: PushedImage,
): void {
  for (const image of store.images.all()) {
    if (!isOf(image, pushed)) continue;
    if (image.state === "PENDING_VALIDATION") queue.add(imageKey(image.id));
    else if (image.state === "READY" && image.mutable && driver.pulls) queue.add(aheadKey(image.id));
    else if (image.state === "ERROR" || image.state === "VALIDATING") wishValidation(image.id);
  }
}

/** A host before the name is how a client or the engine reaches the registry, which may be under several names. */
function isOf({ ref }: Pick<Image, "ref">, { repository, reference }: PushedImage): boolean {
  const [, name = "", tag = "latest", digest] = /^([^:@]+)(?::([^@]+))?(?:@(.+))?$/.exec(withoutRegistryHost(ref)) ?? [];
  return name === repository && (digest ?? tag) === reference;
}
