import type { Container, Image } from "../model/entities.ts";
import type { Store } from "../store/open-store.ts";

/** A container and its image. One whose folder its package no longer has is gone for clients, even where its row is not yet. */
export type LiveContainer = { container: Container; image: Image };

export function findLive(store: Store, id: string): LiveContainer | undefined {
  const container = store.containers.find(id);
  const image = container && store.images.find(container.imageId);
  return container && image && image.state !== "DELETED" ? { container, image } : undefined;
}

/** In the order of the ids. */
export function someLive(store: Store, ids: readonly string[]): LiveContainer[] {
  const containers = store.containers.some(ids);
  const images = new Map(store.images.some([...new Set(containers.map(({ imageId }) => imageId))]).map((image) => [image.id, image]));
  return containers.flatMap((container) => {
    const image = images.get(container.imageId);
    return image && image.state !== "DELETED" ? [{ container, image }] : [];
  });
}
