import { Fault } from "../../lib/fault.ts";
import type { Container } from "../model/entities.ts";
import { isStable } from "./mark-lost.ts";
import { type ContainerPatch, moveContainer } from "./moves.ts";
import type { Rooms } from "./rooms.ts";

/**
 * Puts a container's address in doubt: it is sent nothing until the check has found where it is. That it ran well until now, or may have ended with the engine, is remembered,
 * since the check has a clock of its own.
 */
export function suspectAddress(rooms: Rooms, row: Container, patch: ContainerPatch, byUser?: string): Container | undefined {
  const now = rooms.clock.now();
  const owesNothing = isStable(rooms, row) || rooms.outages.mayHaveEnded(row.since);
  // A start requested at this very moment has another cause, unless the event is its cause.
  const since = row.wishedOn === now && patch.wishedOn === undefined ? now + 1 : now;
  return moveContainer(rooms, row, "doubted", { since, ...patch, address: undefined, ...(owesNothing ? { attempts: 0 } : {}) }, byUser);
}

/**
 * The orchestrator has reported that an instance of the container ended: from then on its address may be another's, so it is taken away at once, before
 * any inspection. The end of an earlier instance does not concern the one that runs.
 */
export function reportEnd(rooms: Rooms, id: string, instance: string | undefined): void {
  const { store, changes, log, endCounts } = rooms;
  endCounts.record(id);
  const row = store.containers.find(id);
  if (row?.address === undefined) return;
  if (instance !== undefined && row.address.instance !== undefined && row.address.instance !== instance) return;
  try {
    if (row.state === "STARTED") return void suspectAddress(rooms, row, {});
    const cleared = store.containers.update(id, { address: undefined });
    if (cleared) changes.publish(cleared);
  } catch (error) {
    if (!(error instanceof Fault)) throw error;
    // A disk that takes nothing more must not have anybody sent there.
    log.error({ container: id, fault: error.code }, "the end of a container could not be written");
    changes.publish({ ...row, state: row.state === "STARTED" ? "CHECKING" : row.state, address: undefined });
  }
}
