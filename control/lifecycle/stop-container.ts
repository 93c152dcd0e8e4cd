import { Fault } from "../../lib/fault.ts";
import type { Container } from "../model/entities.ts";
import { drive } from "./call-driver.ts";
import { busyMs } from "./keep-container.ts";
import { readLastLogs } from "./log-tail.ts";
import { moveContainer, NOT_RUNNING } from "./moves.ts";
import { containerTimeLeft, enteredOn } from "./deadlines.ts";
import { released } from "./release.ts";
import { mayPause, pause } from "./pause-container.ts";
import type { Step } from "./step.ts";

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
  const lastLogs = await readLastLogs(rooms, row, signal);
  const paused = await pause(rooms, row, { ms: leftMs(), signal });
  if (!paused) await drive({ clock: rooms.clock, ms: leftMs(), overdue, signal }, (call) => rooms.driver.destroy(row.service, { signal: call }));
  const now = rooms.store.containers.find(row.id);
  if (!now) return "rest";
  // A user may have asked for the same while the system was at it.
  const event = now.stopFor === "user" ? "stoppedForUser" : "stoppedForSystem";
  const asleep = { ...NOT_RUNNING, pausedOn: paused ? rooms.clock.now() : undefined, attempts: 0, notBefore: 0 };
  moveContainer(rooms, now, event, { ...asleep, ...released(rooms, now), ...(lastLogs === "" ? {} : { lastLogs }) });
  return "moved";
};
