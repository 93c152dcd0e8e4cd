import { Fault } from "../../../lib/fault.ts";
import type { Container } from "../../model/entities.ts";
import type { HistoryEntry } from "../../store/history.ts";
import type { Rooms } from "../rooms.ts";
import { aboutContainer } from "./about.ts";
import { type EngineWord, engineWord } from "./engine-word.ts";
import { type KeepsAwake, keepsAwake } from "./keeps-awake.ts";
import { type LastFailure, lastFailure } from "./last-failure.ts";
import { type Timer, timersOf } from "./timers.ts";
import { whyIn } from "./why.ts";

/** All of it as of one moment, but for the engine's word, which comes a little later. */
export type Explanation = {
  container: Container;
  why: string;
  /** The last moves, oldest first. */
  history: HistoryEntry[];
  timers: Timer[];
  awake: KeepsAwake[];
  failure: LastFailure | undefined;
  engine: EngineWord;
};

const MOST_MOVES = 10;

/** Says why a container is as it is, and changes nothing. Faults: CONTAINER_NOT_FOUND. */
export async function explainContainer(rooms: Rooms, id: string, signal: AbortSignal): Promise<Explanation> {
  const container = rooms.store.containers.find(id);
  if (!container) throw new Fault("CONTAINER_NOT_FOUND", `There is no container ${id}.`);
  const about = aboutContainer(rooms, container);
  return {
    container,
    why: whyIn(about),
    history: about.history.slice(-MOST_MOVES),
    timers: timersOf(about),
    awake: keepsAwake(about),
    failure: lastFailure(about),
    engine: await engineWord(rooms, container, signal),
  };
}
