import type { Observed } from "../../drivers/driver.ts";
import { Fault } from "../../fault.ts";
import type { Container } from "../store/entities.ts";
import { drive } from "./drive.ts";
import { failure, moveContainer, NOT_RUNNING } from "./move-container.ts";
import { enteredOn } from "./overdue.ts";
import type { Rooms } from "./rooms.ts";
import { deploy } from "./start-container.ts";
import type { Outcome, Step } from "./step.ts";
import { readLastLogs } from "./stop-container.ts";

/** A container that runs: is it still there, the newest definition, at the same address, and does anybody use it? */
export const keep: Step = async (rooms, row, signal) => {
  const fact = await observe(rooms, row, signal);
  const now = rooms.store.containers.find(row.id);
  if (now?.state !== "STARTED") return "moved";
  // Its definition was removed from its package.
  if (now.desiredInstances === 0) return moveContainer(rooms, now, "stopWished", { stopFor: "user" }) ? "moved" : "rest";
  if (!fact?.running) return lose(rooms, now, await whyLost(rooms, now, fact, signal));
  if (fact.labels.generation !== now.generation && isReplaceable(rooms, now)) return redefine(rooms, now);
  if (now.address && !sameAddress(fact.address, now.address)) {
    moveContainer(rooms, now, "doubted", fact.address ? { address: fact.address } : {});
    return "moved";
  }
  return rest(rooms, now);
};

/** Its address is in doubt: deploying what already runs verifies it. */
export const check: Step = async (rooms, row, signal) => {
  if (row.runningGeneration !== row.generation && !isReplaceable(rooms, row)) return believe(rooms, row, signal);
  try {
    const { address } = await deploy(rooms, row, signal);
    moveContainer(rooms, row, "foundRunning", { address, runningGeneration: row.generation });
    // Not at once: a driver that names one address at a deploy and another at an inspect would have us turn in circles.
    return { lookInMs: rooms.limits.sweepMs };
  } catch (error) {
    signal.throwIfAborted();
    const now = rooms.store.containers.find(row.id);
    if (now?.state !== "CHECKING") return "moved";
    if (!(error instanceof Fault) || error.code === "ENGINE_UNREACHABLE") throw error;
    return lose(rooms, now, error);
  }
};

/** What runs goes on serving until the image of the newer definition is there; where that one is no good, it simply goes on. */
export function isReplaceable(rooms: Pick<Rooms, "store">, row: Container): boolean {
  return rooms.store.images.find(row.imageId)?.state === "READY";
}

/** Deploying would replace what may not be replaced yet, so the engine's word is taken for its address. */
const believe: Step = async (rooms, row, signal) => {
  const fact = await observe(rooms, row, signal);
  const now = rooms.store.containers.find(row.id);
  if (now?.state !== "CHECKING") return "moved";
  if (!fact?.running) return lose(rooms, now, await whyLost(rooms, now, fact, signal));
  moveContainer(rooms, now, "foundRunning", { address: fact.address });
  return "rest";
};

/** The driver's fact about the row's service, where it is ours at all. Faults: ENGINE_UNREACHABLE, ENGINE_FAILED. */
export async function observe(rooms: Rooms, row: Container, signal: AbortSignal): Promise<Observed | undefined> {
  const { clock, limits, driver, store } = rooms;
  const overdue = () => new Fault("ENGINE_UNREACHABLE", `The container engine did not answer within ${limits.callMs / 1000} s.`);
  const fact = await drive({ clock, ms: limits.callMs, overdue, signal }, (call) => driver.inspect(row.service, { signal: call }));
  return fact && fact.labels.store === store.id && fact.labels.container === row.id ? fact : undefined;
}

export function sameAddress(one: Observed["address"], other: Observed["address"]): boolean {
  return one?.host === other?.host && one?.port === other?.port;
}

/** Stop, then start the new definition: the wish stays. */
export function redefine(rooms: Rooms, row: Container): Outcome {
  return moveContainer(rooms, row, "redefined", { stopFor: "system", wishedOn: rooms.clock.now() }) ? "moved" : "rest";
}

/**
 * It should run and does not. An on-demand one sleeps until the next request; a plain one is started again, more slowly each
 * time, and given up after several losses in a row that each came soon after a start.
 */
function lose(rooms: Rooms, row: Container, fault: Fault): Outcome {
  const stable = rooms.clock.now() - row.since >= rooms.limits.stableMs;
  const attempts = stable ? 1 : row.attempts + 1;
  const patch = { ...failure(rooms, attempts, fault.toJSON()), ...NOT_RUNNING };
  if (row.config.onDemand) {
    moveContainer(rooms, row, "lostAsleep", { ...patch, desiredInstances: 0, stopFor: "system" });
    return "moved";
  }
  const pending = moveContainer(rooms, row, "lost", { ...patch, wishedOn: rooms.clock.now() });
  if (pending && attempts >= rooms.limits.lossesInARow) moveContainer(rooms, pending, "startFailed");
  return "moved";
}

async function whyLost(rooms: Rooms, row: Container, fact: Observed | undefined, signal: AbortSignal): Promise<Fault> {
  if (!fact) return new Fault("CONTAINER_CRASHED", `The container ${row.name} is gone: something other than berth removed it.`);
  const logs = (await readLastLogs(rooms, row, signal)).split("\n").filter((line) => line !== "");
  const how = fact.exit?.outOfMemory ? "ran out of memory" : `ended with code ${fact.exit?.code ?? "unknown"}`;
  return new Fault("CONTAINER_CRASHED", `The container ${row.name} ${how}.`, { logs });
}

/** Sleeps where nobody has used it for as long as its definition says; an open request is use. */
function rest(rooms: Rooms, row: Container): Outcome {
  const dueInMs = idleInMs(rooms, row);
  if (dueInMs === undefined) return "rest";
  if (dueInMs > 0) return { lookInMs: dueInMs };
  moveContainer(rooms, row, "idled", { desiredInstances: 0, stopFor: "system" });
  return "moved";
}

/** Undefined: not as things are. Time since this process started counts at most, since use before that may not have been written. */
function idleInMs(rooms: Rooms, row: Container): number | undefined {
  const minutes = row.config.shutdownTimeoutMinutes;
  if (minutes === undefined || rooms.usage.open(row.id) > 0) return undefined;
  const usedOn = Math.max(enteredOn(rooms, row), row.lastActive, rooms.usage.lastActive(row.id));
  return usedOn + minutes * 60_000 - rooms.clock.now();
}
