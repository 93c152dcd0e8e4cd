import { Fault } from "../../lib/fault.ts";
import type { Container } from "../model/entities.ts";
import { callDriver } from "./call-driver.ts";
import { busyMs } from "./keep-container.ts";
import { readLogTail } from "./log-tail.ts";
import { moveContainer, NOT_RUNNING, type ContainerPatch } from "./moves.ts";
import { containerTimeLeft, enteredOn } from "./deadlines.ts";
import type { Step, Rooms } from "./rooms.ts";
import type { Observed } from "../../drivers/driver.ts";
import { serviceName } from "../model/names.ts";

/**
 * The change to this state was published: from then on no gateway sends anything more. Stops once each has said that it knows
 * and that nothing is open, and after a while in any case: less for a user, who waits for it.
 */
export const drain: Step = async (rooms, row) => {
  const { clock, limits, usage, changes } = rooms;
  if (isForIdleness(row) && (usage.reached(row.id) || busyMs(rooms, row) > 0)) {
    rooms.draining.delete(row.id);
    return moveContainer(rooms, row, "usedAfterAll", { desiredInstances: 1, attempts: 0 }) ? "moved" : "rest";
  }
  const limitMs = row.state === "PENDING_USER_STOP" ? limits.userDrainMs : limits.drainMs;
  const leftMs = enteredOn(rooms, row) + limitMs - clock.now();
  // What never ran has nobody to wait for.
  const idle = row.runningGeneration === undefined || usage.drained(row.id, changes.seqOf(row.id));
  if (!idle && leftMs > 0) {
    rooms.draining.add(row.id);
    return { lookInMs: leftMs };
  }
  rooms.draining.delete(row.id);
  moveContainer(rooms, row, "stopBegan", { pausedOn: idle && mayPause(rooms, row) ? clock.now() : undefined });
  return "moved";
};

/** Nobody wished it, and what runs at its address is what is to run: a request that is there, before its gateway heard of the stop, is use. */
function isForIdleness({ state, stopFor, address, desiredInstances, runningGeneration, generation }: Container): boolean {
  if (state !== "PENDING_SYSTEM_STOP" || stopFor !== "system" || address === undefined) return false;
  // Wished all the same, it is being replaced; unless that wish is a request's, which came since.
  return desiredInstances === 0 || runningGeneration === generation;
}

export const stop: Step = async (rooms, row, signal) => {
  const leftMs = () => Math.max(1, containerTimeLeft(rooms, row) ?? rooms.limits.callMs);
  const overdue = () => new Fault("STOP_TIMED_OUT", `The engine did not stop ${row.name} in time.`);
  const lastLogs = await readLogTail(rooms, row, signal);
  const paused = await pause(rooms, row, { ms: leftMs(), signal });
  if (!paused) await callDriver({ clock: rooms.clock, ms: leftMs(), overdue, signal }, (call) => rooms.driver.destroy(row.service, { signal: call }));
  const now = rooms.store.containers.find(row.id);
  if (!now) return "rest";
  // A user may have asked for the same while the system was at it.
  const event = now.stopFor === "user" ? "stoppedForUser" : "stoppedForSystem";
  const asleep = { ...NOT_RUNNING, pausedOn: paused ? rooms.clock.now() : undefined, attempts: 0, notBefore: 0 };
  moveContainer(rooms, now, event, { ...asleep, ...released(rooms, now), ...(lastLogs === "" ? {} : { lastLogs }) });
  return "moved";
};

/**
 * Whether a stop that begins now, with nothing open, is to freeze it: only what went to sleep by itself, is well and of the newest definition. Any
 * other stop is meant to end it; and so is what ends WebSockets that nobody has used, which would not hear that their other side is frozen.
 */
export function mayPause({ limits }: Pick<Rooms, "limits">, row: Container): boolean {
  const { desiredInstances, stopFor, fault, adopted, runningGeneration, generation } = row;
  const sleeps = desiredInstances === 0 && stopFor === "system" && fault === undefined && adopted === undefined;
  return limits.pausedMs > 0 && sleeps && runningGeneration === generation;
}

/** Freezes a container whose stop began so. False where it is to be ended, or nothing can be frozen. Faults: ENGINE_UNREACHABLE, ENGINE_FAILED, STOP_TIMED_OUT. */
export async function pause(rooms: Rooms, row: Container, { ms, signal }: { ms: number; signal: AbortSignal }): Promise<boolean> {
  const { driver, clock, store, limits } = rooms;
  if (row.pausedOn === undefined || row.stopFor !== "system" || limits.pausedMs === 0) return false;
  const overdue = () => new Fault("STOP_TIMED_OUT", `The engine did not pause ${row.name} in time.`);
  const paused = await callDriver({ clock, ms, overdue, signal }, async (call) => (await driver.pause?.(row.service, { signal: call })) ?? false);
  // A user may have asked for its end meanwhile; a request that came has it go on in a moment.
  return paused && store.containers.find(row.id)?.stopFor === "system";
}

/** Whether what lies frozen may go on doing so: it holds memory, so not for ever, and not where nobody would wake it as it is. */
export function mayStayPaused({ limits, clock }: Pick<Rooms, "limits" | "clock">, row: Paused, fact: Observed | undefined): boolean {
  const { state, pausedOn, generation } = row;
  if (!fact?.paused || state !== "SYSTEM_STOPPED" || pausedOn === undefined || fact.labels.generation !== generation) return false;
  const pausedMs = clock.now() - pausedOn;
  // Less than nothing: the clock was set back, and nobody knows for how long it has been.
  return pausedMs >= 0 && pausedMs < limits.pausedMs;
}

type Paused = Pick<Container, "state" | "pausedOn" | "generation">;

/** Ends what lies frozen, and forgets that anything does. Faults: ENGINE_UNREACHABLE, ENGINE_FAILED. */
export async function endPaused(rooms: Rooms, row: Container, signal: AbortSignal): Promise<void> {
  const { driver, clock, limits, store, changes } = rooms;
  const overdue = () => new Fault("ENGINE_UNREACHABLE", `The container engine did not end ${row.service} in time.`);
  await callDriver({ clock, ms: limits.statusMs, overdue, signal }, (call) => driver.destroy(row.service, { signal: call }));
  const ended = store.containers.update(row.id, { pausedOn: undefined });
  if (ended) changes.publish(ended);
}

/** What its row says once an adopted instance is gone: from then on it is berth's own, under a name of its own, which nobody else has had. */
export function released({ environment }: Pick<Rooms, "environment">, { adopted, name, id }: Container): ContainerPatch {
  return adopted === undefined ? {} : { adopted: undefined, service: serviceName(environment, name, id) };
}

/** Ends what is left of an adopted instance. Faults: ENGINE_UNREACHABLE, ENGINE_FAILED. */
export async function release(rooms: Rooms, row: Container, signal: AbortSignal): Promise<Container | undefined> {
  const { clock, limits, driver, store } = rooms;
  const overdue = () => new Fault("ENGINE_UNREACHABLE", `The container engine did not end ${row.service} in time.`);
  await callDriver({ clock, ms: limits.statusMs, overdue, signal }, (call) => driver.destroy(row.service, { signal: call }));
  return store.containers.update(row.id, released(rooms, row));
}
