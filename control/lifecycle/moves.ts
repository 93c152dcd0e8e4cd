import type { FaultData } from "../../lib/fault.ts";
import type { Container } from "../model/entities.ts";
import { CONTAINER_TABLE, type ContainerEvent } from "../model/states.ts";
import { followWake } from "./follow-wake.ts";
import { keptOf, toldOf } from "./log-tail.ts";
import { retryDelay } from "./retry-delay.ts";
import type { Rooms } from "./rooms.ts";
import { next } from "../model/transition-table.ts";
import { takeAddress, tellTaken } from "./address-ownership.ts";

export type ContainerPatch = Partial<Omit<Container, "id" | "state">>;

/**
 * The only way from one state to another: along the table, and only where the row is still in the state that was looked at.
 * Undefined where either refuses. All watchers get the change. `byUser` is the user who requested it, where there is one. An address that comes with
 * the patch is taken from the container that has it, in the same transaction.
 */
export function moveContainer(
  rooms: Pick<Rooms, "store" | "clock" | "log" | "changes" | "queue" | "endCounts">,
  row: Container,
  event: ContainerEvent,
  patch: ContainerPatch = {},
  byUser?: string,
): Container | undefined {
  const to = next(CONTAINER_TABLE, row.state, event);
  if (!to) return undefined;
  const at = rooms.clock.now();
  const told = patch.fault ? { fault: toldOf(patch.fault) } : {};
  let taken: Container | undefined;
  const moved = rooms.store.transaction(() => {
    if (patch.address !== undefined && rooms.store.containers.find(row.id)?.state === row.state)
      taken = takeAddress(rooms.store, row.id, patch.address, at);
    const written = rooms.store.containers.move(row.id, row.state, to, { since: at, ...patch, ...told }, { at, event, byUser });
    if (written) followWake(rooms.store, { from: row.state, moved: written, event, at });
    return written;
  });
  if (!moved) return undefined;
  rooms.log.info(
    { container: row.id, name: row.name, from: row.state, to, event, ...(patch.fault ? { fault: patch.fault.code } : {}) },
    "container moved",
  );
  if (taken) tellTaken(rooms, taken, moved);
  rooms.changes.publish(moved);
  return moved;
}

/** What a failure leaves in the row: the cause, and when the next start may be tried. */
export function failure(rooms: Pick<Rooms, "clock" | "limits" | "random">, attempts: number, fault: FaultData): ContainerPatch {
  const notBefore = rooms.clock.now() + retryDelay(rooms.limits.startRetry, attempts, rooms.random);
  return { fault, attempts, notBefore, ...(fault.logs?.length ? { lastLogs: keptOf(fault.logs.join("\n")) } : {}) };
}

/** What a row says of a container that does not run. */
export const NOT_RUNNING = { address: undefined, runningGeneration: undefined, pausedOn: undefined, busyUntil: 0 } as const satisfies ContainerPatch;
