import { join } from "node:path";
import type { ImageSource, ResolvedImage } from "../../drivers/driver.ts";
import type { Clock } from "../../lib/clock.ts";
import { Fault } from "../../lib/fault.ts";
import type { Log } from "../../lib/log.ts";
import type { Image } from "../model/entities.ts";
import { withoutRegistryHost } from "../model/names.ts";
import type { Store } from "../store/open-store.ts";
import type { ContainerEngine } from "./engine.ts";
import { asFault } from "./failures.ts";
import type { LifecycleLimits } from "./limits.ts";
import type { Moves } from "./moves.ts";
import { imageKey, missingKey, prefetchKey, type WorkQueue } from "./work-queue.ts";

/** Lookups of an image beside its validation, which leave its row as it is. */

export type ImageLookupDeps = {
  store: Pick<Store, "images">;
  engine: Pick<ContainerEngine, "call" | "pulls">;
  moves: Pick<Moves, "image">;
  queue: Pick<WorkQueue, "add" | "addAfter">;
  clock: Pick<Clock, "now">;
  limits: LifecycleLimits;
  /** What `Image.files` is relative to. */
  filesFolder: string;
  log: Log;
};

/** What a driver finds an image by. */
export function imageSource({ ref, files }: Pick<Image, "ref" | "files">, filesFolder: string): ImageSource {
  return { ref, ...(files === "" ? {} : { folder: join(filesFolder, files) }) };
}

export function isMissing(image: Image | undefined): image is Image {
  return image?.state === "ERROR" && image.fault?.code === "IMAGE_NOT_FOUND";
}

/** After as long as it has been missing for, within bounds: that doubles the waits, and outlives a restart. */
export function scheduleMissingRetry({ clock, limits, queue }: Pick<ImageLookupDeps, "clock" | "limits" | "queue">, { id, since }: Image): void {
  const { firstMs, longestMs } = limits.missingRetry;
  queue.addAfter(missingKey(id), Math.min(Math.max(clock.now() - since, firstMs), longestMs));
}

/**
 * Looks again for an image that no registry had: a push to berth's own registry is reported at once, a push elsewhere is found here. The row stays as it is
 * until the image is found; what a user or a push requests meanwhile goes ahead as ever.
 */
export async function retryMissingImage(deps: ImageLookupDeps, id: string, signal: AbortSignal): Promise<void> {
  const { store, moves, queue, log } = deps;
  const image = await store.images.find(id);
  if (!isMissing(image)) return;
  try {
    await resolveInBackground(deps, image, "found", signal);
  } catch (error) {
    signal.throwIfAborted();
    log.debug({ image: image.ref, fault: asFault(error, log).code }, "image still missing");
    return scheduleMissingRetry(deps, image);
  }
  const now = await store.images.find(id);
  if (isMissing(now) && (await moves.image(now, "validationWished", { fault: undefined }))) queue.add(imageKey(id));
}

/**
 * Brings what a mutable tag points at now to the engine, so that the next start finds it there. Nothing depends on it: the row stays as it is,
 * what runs goes on, and where it fails, that start pulls for itself.
 */
export async function prefetchImage(deps: ImageLookupDeps, id: string, signal: AbortSignal): Promise<void> {
  const { store, log } = deps;
  const image = await store.images.find(id);
  // In other states the validation pulls it.
  if (image?.state !== "READY") return;
  try {
    await resolveInBackground(deps, image, "pulled", signal);
    log.info({ image: image.ref }, "image prefetched");
  } catch (error) {
    signal.throwIfAborted();
    const { code, message } = asFault(error, log);
    log.info({ image: image.ref, fault: code, reason: message }, "image prefetch failed; the next start tries again");
  }
}

/** Resolves an image beside its row, which does not change. `done` is what it was to be: "found", "pulled". Faults: VALIDATION_TIMED_OUT, and those of `resolve`. */
function resolveInBackground(
  { engine, limits, filesFolder }: ImageLookupDeps,
  image: Image,
  done: string,
  signal: AbortSignal,
): Promise<ResolvedImage> {
  const seconds = Math.round(limits.statusMs / 1000);
  const overdue = () => new Fault("VALIDATION_TIMED_OUT", `${image.ref} was not ${done} within ${seconds} s without progress.`);
  return engine.call("resolve", [imageSource(image, filesFolder)], { deadline: { ms: limits.statusMs, capMs: limits.pullCapMs, overdue }, signal });
}

/** An image as a registry names it: `datagrok/x` and a tag or a digest. */
export type PushedImage = { repository: string; reference: string };

/**
 * What waits for an image that has just come to a registry is validated at once. What already runs is replaced when it is published or started
 * again: for those a tag that may move is only pulled, where the engine is one that images are pulled to. Other tags are what they were.
 */
export async function handlePushedImage(
  { store, queue, engine }: Pick<ImageLookupDeps, "store" | "queue" | "engine">,
  requestValidation: (imageId: string) => Promise<void>,
  pushed: PushedImage,
): Promise<void> {
  for (const image of await store.images.all()) {
    if (!isOf(image, pushed)) continue;
    if (image.state === "PENDING_VALIDATION") queue.add(imageKey(image.id));
    else if (image.state === "READY" && image.mutable && engine.pulls) queue.add(prefetchKey(image.id));
    else if (image.state === "ERROR" || image.state === "VALIDATING") await requestValidation(image.id);
  }
}

/** A host before the name is how a client or the engine reaches the registry, which may have several names. */
function isOf({ ref }: Pick<Image, "ref">, { repository, reference }: PushedImage): boolean {
  const [, name = "", tag = "latest", digest] = /^([^:@]+)(?::([^@]+))?(?:@(.+))?$/.exec(withoutRegistryHost(ref)) ?? [];
  return name === repository && (digest ?? tag) === reference;
}
