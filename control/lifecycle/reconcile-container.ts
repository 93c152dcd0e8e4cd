import { Fault } from "../../lib/fault.ts";
import type { Container } from "../model/entities.ts";
import type { ContainerState } from "../model/states.ts";
import { callDriver } from "./call-driver.ts";
import { isEngineTrouble } from "./failures.ts";
import { keep } from "./keep-container.ts";
import { check } from "./verify-address.ts";
import { type Lane, laneOf } from "./lanes.ts";
import { failure, moveContainer } from "./moves.ts";
import { containerTimeLeft, timeoutFault, isPassing } from "./deadlines.ts";
import { heal, stayStopped } from "./rest-container.ts";
import { containerKey, type Rooms, type Outcome, type Step } from "./rooms.ts";
import { beginStart, start } from "./start-container.ts";
import { drain, stop } from "./stop-container.ts";

/** What a container needs next, by its state. */
const STEPS: Record<ContainerState, Step> = {
  PENDING_START: beginStart,
  STARTING: start,
  STARTED: keep,
  CHECKING: check,
  PENDING_USER_STOP: drain,
  PENDING_SYSTEM_STOP: drain,
  STOPPING: stop,
  USER_STOPPED: stayStopped,
  SYSTEM_STOPPED: stayStopped,
  ERROR: heal,
};

/**
 * Brings one container as far as it comes now in this lane; what is next in another waits for a worker there. May be called at any time, and again after a crash at any line.
 * Faults: ENGINE_UNREACHABLE, ENGINE_FAILED, and the store's; the queue tries again.
 */
export async function reconcileContainer(rooms: Rooms, id: string, signal: AbortSignal, lane: Lane): Promise<void> {
  try {
    await reconcile(rooms, id, signal, lane);
  } finally {
    rooms.slots.leave(id);
  }
}

async function reconcile(rooms: Rooms, id: string, signal: AbortSignal, lane: Lane): Promise<void> {
  for (;;) {
    signal.throwIfAborted();
    const row = rooms.store.containers.find(id);
    if (!row) return bury(rooms, id, signal);
    if (laneOf(row) !== lane) return rooms.queue.add(containerKey(id));
    const leftMs = containerTimeLeft(rooms, row);
    if (leftMs !== undefined && leftMs <= 0) {
      timeOut(rooms, row);
      continue;
    }
    // Set before the step, so that one that fails is looked at in time as well.
    if (leftMs !== undefined) rooms.queue.addAfter(containerKey(id), leftMs);
    const outcome = await step(rooms, row, signal);
    if (outcome === "moved") continue;
    if (outcome !== "rest") rooms.queue.addAfter(containerKey(id), outcome.lookInMs);
    return;
  }
}

/** An engine that cannot be asked is remembered as the cause, should the state time out meanwhile. */
async function step(rooms: Rooms, row: Container, signal: AbortSignal): Promise<Outcome> {
  try {
    return await STEPS[row.state](rooms, row, signal);
  } catch (error) {
    if (!signal.aborted && isPassing(row.state) && error instanceof Fault && isEngineTrouble(error.code) && row.fault?.code !== error.code) {
      rooms.store.containers.update(row.id, { fault: error.toJSON() });
    }
    throw error;
  }
}

function timeOut(rooms: Rooms, row: Container): void {
  const fault = row.fault && isEngineTrouble(row.fault.code) ? row.fault : timeoutFault(rooms, row).toJSON();
  moveContainer(rooms, row, "timedOut", failure(rooms, row.attempts + 1, fault));
}

/** A removed container's service goes too. */
async function bury(rooms: Rooms, id: string, signal: AbortSignal): Promise<void> {
  const tombstone = rooms.store.tombstones.find(id);
  if (!tombstone || tombstone.clearedOn !== undefined) return;
  const overdue = () => new Fault("ENGINE_UNREACHABLE", "The container engine did not answer in time.");
  await callDriver({ clock: rooms.clock, ms: rooms.limits.statusMs, overdue, signal }, (call) =>
    rooms.driver.destroy(tombstone.service, { signal: call }),
  );
  rooms.store.tombstones.clear(id, rooms.clock.now());
}
