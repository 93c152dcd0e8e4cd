import type { Observed } from "../../drivers/driver.ts";
import { Fault, type FaultData } from "../../lib/fault.ts";
import type { Container, ContainerPatch, Image } from "../model/entities.ts";
import type { ContainerEvent, ContainerState } from "../model/states.ts";
import { compareAddresses } from "./addresses.ts";
import { isEngineTrouble } from "./failures.ts";
import { busyMs, idleInMs, isIdleStop, mayPause, mayStayPaused, warmInMs } from "./idle-policy.ts";
import type { LifecycleLimits } from "./limits.ts";
import { type ContainerSituation, enteredOn } from "./situation.ts";

/** What is to be done with a container next. */
export type ContainerAction =
  /** Nothing, until something else requests a look. */
  | { kind: "settle" }
  | { kind: "wait"; ms: number }
  | { kind: "move"; event: ContainerEvent; patch: ContainerPatch }
  /** Query the orchestrator, then decide again. */
  | { kind: "observe" }
  /** Wait for its image, which is reconciled by itself. */
  | { kind: "awaitImage" }
  | { kind: "revalidateImage" }
  /** What is left of an adopted instance goes, and with it the name. */
  | { kind: "releaseAdopted" }
  | { kind: "beginStart"; image: Image }
  | { kind: "failStart"; fault: FaultData }
  | { kind: "deploy" }
  | { kind: "suspectAddress" }
  /** It is still at one of its addresses: others of them came or went. */
  | { kind: "updateAddresses"; observed: Observed }
  | { kind: "markLost"; observed: Observed | undefined }
  /** Take the orchestrator's report for its address: a deploy would replace what may not be replaced yet. */
  | { kind: "confirmAddress"; observed: Observed }
  /** Deploy what already runs, which verifies its address. */
  | { kind: "verifyAddress"; observed: Observed }
  | { kind: "recover" }
  /** Wait until no gateway has anything open, for so long at most. */
  | { kind: "drain"; ms: number }
  | { kind: "stop" }
  /** Then decide again. */
  | { kind: "endPaused" };

/** A situation in which the orchestrator was queried. */
type Observation = ContainerSituation & { observed: Observed | undefined };
type Decide<S extends ContainerSituation = ContainerSituation> = (situation: S, limits: LifecycleLimits) => ContainerAction;

const SETTLE: ContainerAction = { kind: "settle" };
const OBSERVE: ContainerAction = { kind: "observe" };

const DECISIONS: Record<ContainerState, Decide> = {
  PENDING_START: decidePendingStart,
  STARTING: ({ image }) => (image?.state === "READY" ? { kind: "deploy" } : move("redefined")),
  STARTED: observed(decideStarted),
  CHECKING: observed(decideChecking),
  PENDING_USER_STOP: decidePendingStop,
  PENDING_SYSTEM_STOP: decidePendingStop,
  STOPPING: () => ({ kind: "stop" }),
  USER_STOPPED: decideStopped,
  SYSTEM_STOPPED: decideStopped,
  ERROR: decideError,
};

/** What a container needs next. It follows from the situation alone, so that it may be decided again after a crash at any line. */
export function decide(situation: ContainerSituation, limits: LifecycleLimits): ContainerAction {
  return DECISIONS[situation.row.state](situation, limits);
}

function move(event: ContainerEvent, patch: ContainerPatch = {}): ContainerAction {
  return { kind: "move", event, patch };
}

function wait(ms: number): ContainerAction {
  return { kind: "wait", ms };
}

function isObserved(situation: ContainerSituation): situation is Observation {
  return situation.observed !== "unknown";
}

function observed(decideObserved: Decide<Observation>): Decide {
  return (situation, limits) => (isObserved(situation) ? decideObserved(situation, limits) : OBSERVE);
}

/** A start was requested: it waits for its image and for its back-off. */
function decidePendingStart({ row, image, now }: ContainerSituation): ContainerAction {
  if (row.desiredInstances === 0) return move("stopWished");
  if (!image || image.state === "DELETED") {
    return { kind: "failStart", fault: new Fault("IMAGE_ENTITY_NOT_FOUND", `The image of ${row.name} was removed.`).toJSON() };
  }
  const waitMs = row.notBefore - now;
  if (isOutdated(image, row, now)) return waitMs > 0 ? wait(waitMs) : { kind: "revalidateImage" };
  if (image.state === "ERROR")
    return { kind: "failStart", fault: image.fault ?? { code: "INTERNAL", message: `The image ${image.name} is not valid.` } };
  if (image.state !== "READY") return { kind: "awaitImage" };
  if (waitMs > 0) return wait(waitMs);
  return row.adopted ? { kind: "releaseAdopted" } : { kind: "beginStart", image };
}

/** The result of a mutable tag from before this start was requested may no longer be true; nor may a failure from before. */
function isOutdated({ mutable, state, since }: Image, row: Container, now: number): boolean {
  // Requested in the future: the clock was set back, and each new result would be outdated too, for as long as that lasts.
  if (row.since > now) return false;
  return (state === "ERROR" || (mutable && state === "READY")) && since < row.since;
}

/** It runs: is it still there, of the newest definition, at the same address, and in use? */
function decideStarted(situation: Observation, limits: LifecycleLimits): ContainerAction {
  const { row, image, observed: fact } = situation;
  // Its definition was removed from its package.
  if (row.desiredInstances === 0) return move("stopWished", { stopFor: "user" });
  // Another program paused it: the check resumes it.
  if (fact?.paused) return { kind: "suspectAddress" };
  if (!fact?.running) return { kind: "markLost", observed: fact };
  if (fact.labels.generation !== row.generation && isReplaceable(image)) return redefine(situation);
  const now = compareAddresses(fact, row.addresses);
  if (now === "elsewhere") return { kind: "suspectAddress" };
  if (now === "changed") return { kind: "updateAddresses", observed: fact };
  return decideIdle(situation, limits);
}

/** A container that runs as desired: it is stopped when it was idle for long enough. */
export function decideIdle(situation: ContainerSituation, limits: LifecycleLimits): ContainerAction {
  const idleMs = idleInMs(situation, limits);
  if (idleMs === undefined) return SETTLE;
  return idleMs > 0 ? wait(idleMs) : move("idled", { desiredInstances: 0, stopFor: "system" });
}

/** What runs goes on serving until the image of the newer definition is there; where that one fails, it simply goes on. */
export function isReplaceable(image: Image | undefined): boolean {
  return image?.state === "READY";
}

/** Stop, then start the new definition: the desired state stays. */
function redefine({ now }: ContainerSituation): ContainerAction {
  return move("redefined", { stopFor: "system", requestedOn: now, requestedFor: "redefinition" });
}

/** Its address is suspect. Where it does not run, it is lost. */
function decideChecking(situation: Observation): ContainerAction {
  const { row, image, observed: fact } = situation;
  const isCurrent = fact?.labels.generation === row.generation;
  if (!fact || !(fact.running || (fact.paused && isCurrent))) return { kind: "markLost", observed: fact };
  if (isCurrent) return { kind: "verifyAddress", observed: fact };
  return isReplaceable(image) ? redefine(situation) : { kind: "confirmAddress", observed: fact };
}

/**
 * This state was published: from then on no gateway sends anything more. The stop begins once each gateway knows it and nothing is open, and
 * after a while in any case: sooner for a user, who waits for it.
 */
function decidePendingStop({ row, now, epoch, usage }: ContainerSituation, limits: LifecycleLimits): ContainerAction {
  if (isIdleStop(row) && (usage.reached || busyMs(row, now, limits) > 0)) return move("usedAfterAll", { desiredInstances: 1, attempts: 0 });
  const limitMs = row.state === "PENDING_USER_STOP" ? limits.userDrainMs : limits.drainMs;
  const leftMs = enteredOn(row, epoch) + limitMs - now;
  // What never ran has no requests.
  const isDrained = row.runningGeneration === undefined || usage.drained;
  if (!isDrained && leftMs > 0) return { kind: "drain", ms: leftMs };
  return move("stopBegan", { pausedOn: isDrained && mayPause(row, limits) ? now : undefined });
}

/** It is stopped: it starts where that was requested meanwhile; running, it is stopped again; paused for no good reason, it is ended. */
function decideStopped(situation: ContainerSituation, limits: LifecycleLimits): ContainerAction {
  const { row, now } = situation;
  if (row.desiredInstances === 1) return move("startWished", { fault: undefined });
  if (!isObserved(situation)) return OBSERVE;
  const { observed: fact } = situation;
  // Running, it may have open requests: recorded as such, it is drained like any other.
  if (fact?.running) return move("foundRunning", { runningGeneration: fact.labels.generation });
  if ((fact?.paused || row.pausedOn !== undefined) && !mayStayPaused(row, fact, now, limits)) return { kind: "endPaused" };
  const warmMs = warmInMs(row, now);
  if (warmMs === undefined) return SETTLE;
  return warmMs > 0 ? wait(warmMs) : move("startWished", { desiredInstances: 1, requestedOn: now, requestedFor: "keepWarm", fault: undefined });
}

/**
 * A container in ERROR keeps its desired state. Desired to be stopped, its stop failed and is tried again after back-off. Desired to run, a healthy observed
 * state ends the error. A new start is for a user or a request to make, except after an engine's trouble, and after a failure in an outage of the engine.
 */
function decideError(situation: ContainerSituation): ContainerAction {
  const { row, now } = situation;
  const waitMs = row.notBefore - now;
  if (row.desiredInstances === 0) return waitMs > 0 ? wait(waitMs) : move("stopWished", { stopFor: row.stopFor ?? "system" });
  if (!isObserved(situation)) return OBSERVE;
  const { observed: fact } = situation;
  // It was paused, and its start failed before it was resumed: it would hold its memory until the next request.
  if (fact?.paused) return { kind: "endPaused" };
  if (fact?.running && fact.labels.generation === row.generation) return { kind: "recover" };
  if (row.config.onDemand || !(isEngineTrouble(row.fault?.code) || situation.outageExplains)) return SETTLE;
  return waitMs > 0 ? wait(waitMs) : move("startWished", { fault: undefined });
}
