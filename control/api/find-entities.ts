import type { Container, Image } from "../model/entities.ts";
import type { Store } from "../store/open-store.ts";
import { Fault } from "../../lib/fault.ts";
import type { CallerReply } from "../../gateway/contract.ts";
import { requireManage } from "../identity/rights.ts";

/** A container and its image. Clients no longer see a container whose folder its package has lost, even while its row exists. */
export type LiveContainer = { container: Container; image: Image };

export function findLiveContainer(store: Store, id: string): LiveContainer | undefined {
  const container = store.containers.find(id);
  const image = container && store.images.find(container.imageId);
  return container && image && image.state !== "DELETED" ? { container, image } : undefined;
}

/** In the order of the ids. */
export function findLiveContainers(store: Store, ids: readonly string[]): LiveContainer[] {
  const containers = store.containers.some(ids);
  const images = new Map(store.images.some([...new Set(containers.map(({ imageId }) => imageId))]).map((image) => [image.id, image]));
  return containers.flatMap((container) => {
    const image = images.get(container.imageId);
    return image && image.state !== "DELETED" ? [{ container, image }] : [];
  });
}

/** The container of a path, for a caller who may manage it. Faults: ID_INVALID, CONTAINER_NOT_FOUND, NOT_PERMITTED. */
export function requireContainer(store: Store, caller: Pick<CallerReply, "userId" | "admin">, id: string): Container {
  const container = store.containers.find(parseUuid(id));
  if (!container) throw new Fault("CONTAINER_NOT_FOUND", `There is no container ${id}.`);
  requireManage(store, caller, container.packageId);
  return container;
}

/** The image of a path. Faults: ID_INVALID, IMAGE_ENTITY_NOT_FOUND. */
export function requireImage(store: Store, id: string): Image {
  const image = store.images.find(parseUuid(id));
  if (!image) throw new Fault("IMAGE_ENTITY_NOT_FOUND", `There is no image ${id}.`);
  return image;
}

const UUID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

/** In lower case, as the store has it. Faults: ID_INVALID. */
export function parseUuid(text: string): string {
  if (!UUID.test(text)) throw new Fault("ID_INVALID", `${JSON.stringify(text.slice(0, 100))} is not a UUID.`);
  return text.toLowerCase();
}
