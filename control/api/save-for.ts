import { Fault } from "../../lib/fault.ts";
import type { ApiParts } from "./api-deps.ts";
import { findLive, type LiveContainer } from "./find-entities.ts";
import { requireManage } from "./rights.ts";
import { readUuid } from "./uuid.ts";

export type SavedBody = {
  id?: string | null;
  name?: string | null;
  friendlyName?: string | null;
  dockerfile?: { id?: string } | null;
  config?: Record<string, unknown> | null;
  environmentVars?: Record<string, unknown> | null;
};

/** Saves what a client sent for a caller who may. Faults: REQUEST_INVALID, ID_INVALID, IMAGE_ENTITY_NOT_FOUND, NOT_PERMITTED. */
export function saveFor({ store, publisher }: ApiParts, caller: { userId: string; admin: boolean }, body: SavedBody): LiveContainer {
  const id = body.id ? readUuid(body.id) : undefined;
  const known = id === undefined ? undefined : findLive(store, id);
  const said = {
    name: body.name || undefined,
    friendlyName: body.friendlyName || undefined,
    config: body.config ?? undefined,
    environmentVars: body.environmentVars ?? undefined,
  };
  if (known) {
    requireManage(store, caller, known.container.packageId);
    return { container: publisher.save({ ...said, known: known.container }), image: known.image };
  }
  if (!body.dockerfile?.id) {
    throw new Fault("REQUEST_INVALID", "A new container is made of an image that was published: its id is needed as dockerfile.id.");
  }
  const image = store.images.find(readUuid(body.dockerfile.id));
  if (!image || image.state === "DELETED") throw new Fault("IMAGE_ENTITY_NOT_FOUND", `There is no image ${body.dockerfile.id}.`);
  requireManage(store, caller, image.packageId);
  // A row of that id that is not live is about to be removed.
  if (id !== undefined && store.containers.find(id)) throw new Fault("REQUEST_INVALID", "The container is being removed.");
  return { container: publisher.save({ ...said, image, id }), image };
}
