import type { Container } from "../model/entities.ts";
import type { Rooms } from "./rooms.ts";

/** `moved`: look again at once. `rest`: something else will say when to look. */
export type Outcome = "moved" | "rest" | { lookInMs: number };

/**
 * Does what a container in one state needs next, which follows from its row alone. The row may have changed by the time that
 * a step has heard from the driver, so every move compares first.
 */
export type Step = (rooms: Rooms, row: Container, signal: AbortSignal) => Promise<Outcome>;
