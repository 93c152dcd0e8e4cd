import type { Container } from "../store/entities.ts";
import { isStable } from "./lose-container.ts";
import { type ContainerPatch, moveContainer } from "./move-container.ts";
import type { Rooms } from "./rooms.ts";

/** Puts a container's address in doubt. That it ran well until now, or may have ended with the engine, is remembered, since the check has a clock of its own. */
export function doubt(rooms: Rooms, row: Container, patch: ContainerPatch, byUser?: string): Container | undefined {
  const owesNothing = isStable(rooms, row) || rooms.outages.mayHaveEnded(row.since);
  return moveContainer(rooms, row, "doubted", { ...patch, ...(owesNothing ? { attempts: 0 } : {}) }, byUser);
}
