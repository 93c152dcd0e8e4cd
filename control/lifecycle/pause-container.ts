import type { Observed } from "../../drivers/driver.ts";
import { Fault } from "../../lib/fault.ts";
import type { Container } from "../model/entities.ts";
import { drive } from "./call-driver.ts";
import type { Rooms } from "./rooms.ts";

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
  const paused = await drive({ clock, ms, overdue, signal }, async (call) => (await driver.pause?.(row.service, { signal: call })) ?? false);
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
  await drive({ clock, ms: limits.statusMs, overdue, signal }, (call) => driver.destroy(row.service, { signal: call }));
  const ended = store.containers.update(row.id, { pausedOn: undefined });
  if (ended) changes.publish(ended);
}
