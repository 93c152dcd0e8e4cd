import type { Container } from "../store/entities.ts";
import { isStable } from "./lose-container.ts";
import { type ContainerPatch, moveContainer } from "./move-container.ts";
import type { Rooms } from "./rooms.ts";

/** Puts a container's address in doubt. That it ran well until now is remembered, since the check has a clock of its own. */
export function doubt(rooms: Rooms, row: Container, patch: ContainerPatch, byUser?: string): Container | undefined {
  return moveContainer(rooms, row, "doubted", { ...patch, ...(isStable(rooms, row) ? { attempts: 0 } : {}) }, byUser);
}
