import { Fault } from "../../lib/fault.ts";
import { confirmDeployment, ownedAddress } from "./confirm-deployment.ts";
import { isEngineTrouble } from "./failures.ts";
import { warmUp } from "./idle-policy.ts";
import { observe } from "./keep-container.ts";
import { moveContainer } from "./moves.ts";
import { endPaused, mayStayPaused } from "./stop-container.ts";
import { deploy } from "./start-container.ts";
import type { Step, Outcome, Rooms } from "./rooms.ts";
import type { Container } from "../model/entities.ts";

/** Stopped, and to stay so, with nothing of it frozen. Should it run all the same, the sweep finds it. */
export function isAtRest({ state, desiredInstances, pausedOn }: Container): boolean {
  return (state === "USER_STOPPED" || state === "SYSTEM_STOPPED") && desiredInstances === 0 && pausedOn === undefined;
}

/** A container that is stopped: wished meanwhile, it starts; found running, it is stopped again; found frozen for no good reason, it is ended. */
export const stayStopped: Step = async (rooms, row, signal) => {
  if (row.desiredInstances === 1) return keepingWish(rooms, row);
  const fact = await observe(rooms, row, signal);
  const now = rooms.store.containers.find(row.id);
  if (now?.state !== row.state || now.desiredInstances === 1) return "moved";
  if (!fact?.running) {
    if ((fact?.paused || now.pausedOn !== undefined) && !mayStayPaused(rooms, now, fact)) await endPaused(rooms, now, signal);
    return warmUp(rooms, rooms.store.containers.find(row.id) ?? now);
  }
  // Running, it may have open requests: remembered as such, it is drained like any other.
  moveContainer(rooms, now, "foundRunning", { runningGeneration: fact.labels.generation });
  return "moved";
};

/**
 * A container in ERROR keeps its wish. Not wished, it is a stop that failed, and tried again after back-off. Wished, a healthy
 * fact ends the error; a new start is for a user or a request to ask, except that an engine's trouble counts for no container, nor a failure while the engine was away.
 */
export const heal: Step = async (rooms, row, signal) => {
  const waitMs = row.notBefore - rooms.clock.now();
  if (row.desiredInstances === 0) {
    if (waitMs > 0) return { lookInMs: waitMs };
    return moveContainer(rooms, row, "stopWished", { stopFor: row.stopFor ?? "system" }) ? "moved" : "rest";
  }
  const fact = await observe(rooms, row, signal);
  const now = rooms.store.containers.find(row.id);
  if (now?.state !== "ERROR" || now.desiredInstances === 0) return "moved";
  // What lay frozen, and whose start failed before it could go on, would hold its memory for as long as nobody asks again.
  if (fact?.paused) await endPaused(rooms, now, signal);
  if (fact?.running && fact.labels.generation === now.generation) {
    const ends = rooms.endCounts.count(row.id);
    try {
      const deployment = await deploy(rooms, { ...now, since: rooms.clock.now() }, signal);
      await confirmDeployment(rooms, now, deployment, { ends, isNew: false, signal });
      const address = ownedAddress(deployment.address, deployment.instance);
      moveContainer(rooms, now, "foundRunning", { address, runningGeneration: now.generation, fault: undefined });
      return "moved";
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof Fault)) throw error;
      return rooms.store.containers.find(row.id)?.state === "ERROR" ? "rest" : "moved";
    }
  }
  if (now.config.onDemand || !(isEngineTrouble(now.fault?.code) || rooms.outages.explains(now.since))) return "rest";
  return waitMs > 0 ? { lookInMs: waitMs } : keepingWish(rooms, now);
};

/** Starts what is wished and at rest, in the name of whoever wished it. */
export function keepingWish(rooms: Rooms, row: Container): Outcome {
  return moveContainer(rooms, row, "startWished", { fault: undefined }) ? "moved" : "rest";
}
