import type { Container, Image } from "../../model/entities.ts";
import type { HistoryEntry } from "../../store/history.ts";
import type { Rooms } from "../rooms.ts";

/** What an explanation is made of: the stored state, nothing that a step would not see too. */
export type About = {
  rooms: Rooms;
  row: Container;
  image: Image | undefined;
  /** Oldest first. */
  history: readonly HistoryEntry[];
  /** A person as others know them. */
  nameOf(userId: string | undefined): string;
};

export function aboutContainer(rooms: Rooms, row: Container): About {
  const { store } = rooms;
  return {
    rooms,
    row,
    image: store.images.find(row.imageId),
    history: store.history.of(row.id),
    nameOf: (userId) => (userId === undefined ? "berth" : (store.users.find(userId)?.login ?? "a user who is gone")),
  };
}
