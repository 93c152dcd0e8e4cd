import type { Image } from "../model/entities.ts";
import { IMAGE_TABLE, type ImageEvent } from "../model/image-states.ts";
import type { Rooms } from "./rooms.ts";
import { next } from "../model/transition-table.ts";

/** As for containers: along the table, and only from the state that was looked at. */
export function moveImage(
  rooms: Pick<Rooms, "store" | "clock" | "log" | "changes">,
  image: Image,
  event: ImageEvent,
  patch: Partial<Omit<Image, "id" | "state">>,
  byUser?: string,
): Image | undefined {
  const to = next(IMAGE_TABLE, image.state, event);
  const at = rooms.clock.now();
  const moved = to && rooms.store.images.move(image.id, image.state, to, { since: at, ...patch }, { at, event, byUser });
  if (moved) {
    rooms.log.info(
      { image: image.id, name: image.name, from: image.state, to, event, ...(patch.fault ? { fault: patch.fault.code } : {}) },
      "image moved",
    );
    rooms.changes.publishImage(moved);
  }
  return moved;
}
