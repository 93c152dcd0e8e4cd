import type { Observed } from "../../drivers/driver.ts";
import { Fault } from "../../lib/fault.ts";
import type { Container, OwnedAddress } from "../model/entities.ts";
import { suspectAddress } from "./suspect-address.ts";
import { callDriver } from "./call-driver.ts";
import { warmMs } from "./idle-policy.ts";
import { markLostAsObserved } from "./mark-lost.ts";
import { moveContainer } from "./moves.ts";
import { enteredOn } from "./deadlines.ts";
import type { Rooms, Outcome, Step } from "./rooms.ts";

/** A container that runs: is it still there, the newest definition, at the same address, and does anybody use it? */
export const keep: Step = async (rooms, row, signal) => {
  const fact = await observe(rooms, row, signal);
  const now = rooms.store.containers.find(row.id);
  if (now?.state !== "STARTED") return "moved";
  // Its definition was removed from its package.
  if (now.desiredInstances === 0) return moveContainer(rooms, now, "stopWished", { stopFor: "user" }) ? "moved" : "rest";
  // Somebody else froze it: the check has it go on.
  if (fact?.paused) return suspectAddress(rooms, now, {}) ? "moved" : "rest";
  if (!fact?.running) return markLostAsObserved(rooms, now, fact, signal);
  if (fact.labels.generation !== now.generation && isReplaceable(rooms, now)) return redefine(rooms, now);
  if (now.address && !isWhere(fact, now.address)) return suspectAddress(rooms, now, {}) ? "moved" : "rest";
  return rest(rooms, now);
};

/** What runs goes on serving until the image of the newer definition is there; where that one is no good, it simply goes on. */
export function isReplaceable(rooms: Pick<Rooms, "store">, row: Container): boolean {
  return rooms.store.images.find(row.imageId)?.state === "READY";
}

/** The driver's fact about the row's service, where it is ours at all. Faults: ENGINE_UNREACHABLE, ENGINE_FAILED. */
export async function observe(rooms: Rooms, row: Container, signal: AbortSignal): Promise<Observed | undefined> {
  const { clock, limits, driver, store } = rooms;
  const overdue = () => new Fault("ENGINE_UNREACHABLE", `The container engine did not answer within ${limits.callMs / 1000} s.`);
  const fact = await callDriver({ clock, ms: limits.callMs, overdue, signal }, (call) => driver.inspect(row.service, { signal: call }));
  return fact && fact.labels.store === store.id && fact.labels.container === row.id ? fact : undefined;
}

/** It is the same instance, at the same address; what either does not tell is taken to be the same. */
export function isWhere({ address, instance }: Pick<Observed, "address" | "instance">, known: OwnedAddress): boolean {
  return sameAddress(address, known) && (instance === undefined || known.instance === undefined || instance === known.instance);
}

export function sameAddress(one: Observed["address"], other: Observed["address"]): boolean {
  return one?.host === other?.host && one?.port === other?.port;
}

/** Stop, then start the new definition: the wish stays. */
export function redefine(rooms: Rooms, row: Container): Outcome {
  return moveContainer(rooms, row, "redefined", { stopFor: "system", wishedOn: rooms.clock.now(), wishedFor: "redefinition" }) ? "moved" : "rest";
}

/** Sleeps where nobody has used it for as long as its definition says; an open request is use. */
export function rest(rooms: Rooms, row: Container): Outcome {
  const dueInMs = idleInMs(rooms, row);
  if (dueInMs === undefined) return "rest";
  if (dueInMs > 0) return { lookInMs: dueInMs };
  moveContainer(rooms, row, "idled", { desiredInstances: 0, stopFor: "system" });
  return "moved";
}

/** For how long it is busy yet, by its own word; of a clock that was set back since, no longer than it may be at all. */
export function busyMs({ clock, limits }: Pick<Rooms, "clock" | "limits">, { busyUntil }: Pick<Container, "busyUntil">): number {
  return Math.max(0, Math.min(busyUntil - clock.now(), limits.busyMs));
}

/** How long until it sleeps for idleness. Undefined: not as things are. Time since this process started counts at most, since use before that may not have been written. */
export function idleInMs(rooms: Rooms, row: Container): number | undefined {
  const minutes = row.config.shutdownTimeoutMinutes;
  if (minutes === undefined || rooms.usage.open(row.id) > 0) return undefined;
  const usedOn = Math.max(enteredOn(rooms, row), row.lastActive, rooms.usage.lastActive(row.id));
  const { clock, usage } = rooms;
  return Math.max(Math.max(usedOn + minutes * 60_000, usage.uncertainUntil()) - clock.now(), busyMs(rooms, row), warmMs(rooms, row));
}
