import type { Container, Image } from "../model/entities.ts";
import type { Store } from "../store/open-store.ts";
import { Fault } from "../../lib/fault.ts";

/** A container and its image. One whose folder its package no longer has is gone for clients, even where its row is not yet. */
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

const UUID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

/** As it is stored, in lower case. Faults: ID_INVALID. */
export function parseUuid(text: string): string {
  if (!UUID.test(text)) throw new Fault("ID_INVALID", `${JSON.stringify(text.slice(0, 100))} is not a UUID.`);
  return text.toLowerCase();
}
