import type { Container } from "../model/entities.ts";
import { moveContainer } from "./moves.ts";
import type { Rooms } from "./rooms.ts";
import type { Outcome } from "./step.ts";

/** Starts what is wished and at rest, in the name of whoever wished it. */
export function keepingWish(rooms: Rooms, row: Container): Outcome {
  return moveContainer(rooms, row, "startWished", { fault: undefined }) ? "moved" : "rest";
}
