import type { FaultData } from "../../lib/fault.ts";
import type { Container, Image } from "../model/entities.ts";
import { CONTAINER_TABLE, type ContainerEvent, nextState, IMAGE_TABLE, type ImageEvent } from "../model/states.ts";
import { followWake, takeAddress, publishTakenAddress } from "./address-ownership.ts";
import { cutLogTail, cutFaultLogs } from "./log-tail.ts";
import { retryDelay } from "./limits.ts";
import type { Rooms } from "./rooms.ts";

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
  const to = nextState(CONTAINER_TABLE, row.state, event);
  if (!to) return undefined;
  const at = rooms.clock.now();
  const told = patch.fault ? { fault: cutFaultLogs(patch.fault) } : {};
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
  if (taken) publishTakenAddress(rooms, taken, moved);
  rooms.changes.publish(moved);
  return moved;
}

/** What a failure leaves in the row: the cause, and when the next start may be tried. */
export function failure(rooms: Pick<Rooms, "clock" | "limits" | "random">, attempts: number, fault: FaultData): ContainerPatch {
  const notBefore = rooms.clock.now() + retryDelay(rooms.limits.startRetry, attempts, rooms.random);
  return { fault, attempts, notBefore, ...(fault.logs?.length ? { lastLogs: cutLogTail(fault.logs.join("\n")) } : {}) };
}

/** What a row says of a container that does not run. */
export const NOT_RUNNING = { address: undefined, runningGeneration: undefined, pausedOn: undefined, busyUntil: 0 } as const satisfies ContainerPatch;

/** As for containers: along the table, and only from the state that was looked at. */
export function moveImage(
  rooms: Pick<Rooms, "store" | "clock" | "log" | "changes">,
  image: Image,
  event: ImageEvent,
  patch: Partial<Omit<Image, "id" | "state">>,
  byUser?: string,
): Image | undefined {
  const to = nextState(IMAGE_TABLE, image.state, event);
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
