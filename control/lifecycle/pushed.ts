import { withoutHost } from "../model/image-reference.ts";
import type { Image } from "../model/entities.ts";
import { aheadKey, imageKey, type Rooms } from "./rooms.ts";
import type { Wishes } from "./desired-state.ts";

/** An image as a registry names it: `datagrok/x` and a tag or a digest. */
export type Pushed = { repository: string; reference: string };

/**
 * What waits for an image that has just come to a registry is validated at once. What already runs is left to whoever publishes it anew, or starts
 * it again: for those a tag that may move is only pulled, where the engine is one that images are pulled to. Other tags are what they were.
 */
export function lookAtPushed(
  { store, queue, driver }: Pick<Rooms, "store" | "queue" | "driver">,
  { wishValidation }: Pick<Wishes, "wishValidation">,
  pushed: Pushed,
): void {
  for (const image of store.images.all()) {
    if (!isOf(image, pushed)) continue;
    if (image.state === "PENDING_VALIDATION") queue.add(imageKey(image.id));
    else if (image.state === "READY" && image.mutable && driver.pulls) queue.add(aheadKey(image.id));
    else if (image.state === "ERROR" || image.state === "VALIDATING") wishValidation(image.id);
  }
}

/** A host before the name is how a client or the engine reaches the registry, which may be under several names. */
function isOf({ ref }: Pick<Image, "ref">, { repository, reference }: Pushed): boolean {
  const [, name = "", tag = "latest", digest] = /^([^:@]+)(?::([^@]+))?(?:@(.+))?$/.exec(withoutHost(ref)) ?? [];
  return name === repository && (digest ?? tag) === reference;
}
