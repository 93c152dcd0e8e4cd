import type { Observed } from "../../drivers/driver.ts";
import type { Clock } from "../../lib/clock.ts";
import { Fault, type FaultCode, type FaultData } from "../../lib/fault.ts";
import type { Container, ContainerPatch, Image } from "../model/entities.ts";
import { type ContainerEvent, type ContainerState, isPassing, isPassingImage, isStopped, type PassingContainerState } from "../model/states.ts";
import { isAlwaysOn, isExpiredStop, lifetimeLeftMs } from "../model/lifetime.ts";
import { nextWarm, warmUntil } from "../model/warm-hours.ts";
import { compareAddresses } from "./addresses.ts";
import { type Dependency, nextDependencyStep } from "./dependencies.ts";
import { isEngineTrouble } from "./engine.ts";
import type { LifecycleLimits } from "./limits.ts";
import type { ReplacementTurns } from "./replica-sets.ts";

/** Everything that a decision about a container is made from, as of one moment. */
export type ContainerSituation = {
  row: Container;
  image: Image | undefined;
  /** Those that it depends on; empty unless it waits for its start. */
  dependencies: readonly Dependency[];
  /** What the orchestrator reports: undefined where it has no such service, "unknown" where it was not queried yet. */
  observed: Observed | undefined | "unknown";
  /** Epoch ms. */
  now: number;
  /** Waiting counts from here at the earliest: berth did not run before, or the clock was set. Epoch ms. */
  epoch: number;
  usage: {
    /** HTTP requests in progress, at all gateways. */
    open: number;
    /** A request has reached the container and is in progress. */
    reached: boolean;
    sockets: number;
    /** For how long gateways may still be joining. */
    joiningMs: number;
    /** Every gateway has joined, knows the container's newest change, and none has an exchange open. */
    drained: boolean;
    /** As `WorkerActivity`. */
    measuredMsAgo: number | undefined;
    /** Epoch ms, as for `ContainerUsage`. */
    lastActive: number;
    uncertainUntil: number;
  };
  /** An outage of the orchestrator explains a failure at the time at which the row entered its state. */
  outageExplains: boolean;
  /** Of a container with several replicas, and of each of them; undefined: it has none. */
  turns: ReplacementTurns | undefined;
};

/** `image`: the row's, if it was read together with the row. */
export type ReadSituation = (row: Container, observed: ContainerSituation["observed"], image?: Image) => Promise<ContainerSituation>;

/** What is to be done with a container next. */
export type ContainerAction =
  /** Nothing, until something else requests a look. */
  | { kind: "settle" }
  | { kind: "wait"; ms: number }
  /** It is to be replaced when its turn comes. `ms`: until another look is due in any case. */
  | { kind: "awaitTurn"; ms: number | undefined }
  | { kind: "move"; event: ContainerEvent; patch: ContainerPatch }
  /** Query the orchestrator, then decide again. */
  | { kind: "observe" }
  /** Wait for its image, which is reconciled by itself. */
  | { kind: "awaitImage" }
  /** Wait for the containers that it depends on, once these of them are requested to start. */
  | { kind: "awaitDependencies"; start: readonly string[] }
  | { kind: "revalidateImage" }
  /** What is left of an adopted instance goes, and with it the name. */
  | { kind: "releaseAdopted" }
  | { kind: "beginStart" }
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

/** A start was requested: it waits for its image, for its back-off, and for the containers that it depends on. */
function decidePendingStart({ row, image, dependencies, now }: ContainerSituation): ContainerAction {
  if (row.desiredInstances === 0) return move("stopWished");
  if (!image || image.state === "DELETED") {
    return { kind: "failStart", fault: new Fault("IMAGE_ENTITY_NOT_FOUND", `The image of ${row.name} was removed.`).toJSON() };
  }
  const waitMs = row.notBefore - now;
  if (isValidationOutdated(image, row, now)) return waitMs > 0 ? wait(waitMs) : { kind: "revalidateImage" };
  if (image.state === "ERROR")
    return { kind: "failStart", fault: image.fault ?? { code: "INTERNAL", message: `The image ${image.name} is not valid.` } };
  if (image.state !== "READY") return { kind: "awaitImage" };
  if (waitMs > 0) return wait(waitMs);
  const step = nextDependencyStep(row, dependencies, now);
  if (step.kind === "failed") return { kind: "failStart", fault: step.fault };
  if (step.kind !== "ready") return { kind: "awaitDependencies", start: step.kind === "start" ? step.ids : [] };
  return row.adopted ? { kind: "releaseAdopted" } : { kind: "beginStart" };
}

/** The result of a mutable tag from before this start was requested may no longer be true; nor may a failure from before. */
function isValidationOutdated({ mutable, state, since }: Image, row: Container, now: number): boolean {
  // Requested in the future: the clock was set back, and each new result would be outdated too, for as long as that lasts.
  if (row.since > now) return false;
  return (state === "ERROR" || (mutable && state === "READY")) && since < row.since;
}

/** It runs: is it still there, of the newest definition, at the same address, and in use? */
function decideStarted(situation: Observation, limits: LifecycleLimits): ContainerAction {
  const { row, image, observed: fact } = situation;
  if (row.desiredInstances === 0) return decideWithoutDefinition(situation);
  // Another program paused it: the check resumes it.
  if (fact?.paused) return { kind: "suspectAddress" };
  if (!fact?.running) return { kind: "markLost", observed: fact };
  const isOld = fact.labels.generation !== row.generation && isReplaceable(image);
  if (isOld && situation.turns === undefined) return redefine(situation);
  const now = compareAddresses(fact, row.addresses);
  if (now === "elsewhere") return { kind: "suspectAddress" };
  if (now === "changed") return { kind: "updateAddresses", observed: fact };
  const next = decideIdle(situation, limits);
  return isOld && (next.kind === "settle" || next.kind === "wait") ? { kind: "awaitTurn", ms: next.kind === "wait" ? next.ms : undefined } : next;
}

/** How soon after a publish began a container that left the package is removed, unless control ended meanwhile. */
const REMOVED_WITHIN_MS = 15_000;

/** Its definition was removed from its package. The publish removes it next: its clients are to read that, not that a user stopped it. */
function decideWithoutDefinition({ image, now }: ContainerSituation): ContainerAction {
  const passedMs = image?.state === "DELETED" ? now - image.since : Infinity;
  // A time in the future: the clock was set back.
  if (passedMs >= 0 && passedMs < REMOVED_WITHIN_MS) return wait(REMOVED_WITHIN_MS - passedMs);
  return move("stopWished", { stopFor: "user" });
}

/** A container that runs as desired: it is stopped when it was idle for long enough, or has run for long enough. */
export function decideIdle(situation: ContainerSituation, limits: LifecycleLimits): ContainerAction {
  const lifetimeMs = lifetimeLeftMs(situation.row, situation.now);
  const isExpired = lifetimeMs !== undefined && lifetimeMs <= 0;
  if (isExpired && !restartsInTurn(situation)) return expire(situation);
  const idleMs = idleInMs(situation, limits);
  if (idleMs !== undefined && idleMs <= 0) return move("idled", { desiredInstances: 0, stopFor: "system" });
  if (isExpired) return { kind: "awaitTurn", ms: idleMs };
  const nextMs = Math.min(lifetimeMs ?? Infinity, idleMs ?? Infinity);
  return Number.isFinite(nextMs) ? wait(nextMs) : SETTLE;
}

/** Used or not. One that is always on starts again: no request would start it. */
function expire({ row, now }: ContainerSituation): ContainerAction {
  return move("expired", isAlwaysOn(row.config) ? restartPatch(now) : { desiredInstances: 0, stopFor: "system" });
}

/** At the end of its lifetime another replica serves first, unless it sleeps then, because nothing else serves its requests. */
export function restartsInTurn({ row, turns }: Pick<ContainerSituation, "row" | "turns">): boolean {
  return turns !== undefined && (isAlwaysOn(row.config) || turns.othersServe);
}

/** Of a container that has run for its `max_minutes`, and is started again. */
export function restartPatch(now: number): ContainerPatch {
  return { stopFor: "system", requestedOn: now, requestedFor: "expiry" };
}

/** What runs goes on serving until the image of the newer definition is there; where that one fails, it simply goes on. */
export function isReplaceable(image: Image | undefined): boolean {
  return image?.state === "READY";
}

/** Stop, then start the new definition: the desired state stays. */
function redefine({ now }: ContainerSituation): ContainerAction {
  return move("redefined", redefinitionPatch(now));
}

export function redefinitionPatch(now: number): ContainerPatch {
  return { stopFor: "system", requestedOn: now, requestedFor: "redefinition" };
}

/** Its address is suspect. Where it does not run, it is lost. */
function decideChecking(situation: Observation): ContainerAction {
  const { row, image, observed: fact } = situation;
  const isCurrent = fact?.labels.generation === row.generation;
  if (!fact || !(fact.running || (fact.paused && isCurrent))) return { kind: "markLost", observed: fact };
  if (isCurrent) return { kind: "verifyAddress", observed: fact };
  // One of several goes on serving until its turn comes.
  return isReplaceable(image) && situation.turns === undefined ? redefine(situation) : { kind: "confirmAddress", observed: fact };
}

/**
 * This state was published: from then on no gateway sends anything more. The stop begins once each gateway knows it and nothing is open, and
 * after a while in any case: sooner for a user, who waits for it.
 */
function decidePendingStop(situation: ContainerSituation, limits: LifecycleLimits): ContainerAction {
  const { row, now, epoch, usage } = situation;
  if (isIdleStop(row) && (usage.reached || busyMs(row, now, limits) > 0)) return move("usedAfterAll", { desiredInstances: 1, attempts: 0 });
  const limitMs = drainLimitMs(situation, limits);
  const leftMs = enteredOn(row, epoch) + limitMs - now;
  // What never ran has no requests.
  const isDrained = row.runningGeneration === undefined || usage.drained;
  // No report of a gateway may come when all have joined.
  if (!isDrained && leftMs > 0) return { kind: "drain", ms: Math.min(leftMs, usage.joiningMs || leftMs) };
  return move("stopBegan", { pausedOn: isDrained && mayPause(row, limits) ? now : undefined });
}

/** How long a stop waits for open exchanges. Longer where no request waits for its end, because others serve. */
export function drainLimitMs({ row, turns }: Pick<ContainerSituation, "row" | "turns">, limits: LifecycleLimits): number {
  const isReplaced = row.desiredInstances === 1 && turns?.othersServe === true;
  if (row.stopFor === "system" && (row.replicaOf !== undefined || isReplaced)) return limits.replicaDrainMs;
  return row.state === "PENDING_USER_STOP" ? limits.userDrainMs : limits.drainMs;
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
  if (warmMs > 0) return wait(warmMs);
  const requestedFor = isKeptWarm(row, now) ? "keepWarm" : "usualHours";
  return move("startWished", { desiredInstances: 1, requestedOn: now, requestedFor, fault: undefined });
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

/** How far the two clocks may drift apart between two reads without the clock having been set; slewing causes far less. */
const JUMP_MS = 1_000;

/**
 * The moment (epoch ms) since which the clock has run evenly: since this call, or since it was last set forward. Waiting counts from there, so that a jump, or a machine
 * that slept, makes nothing time out or stop for idleness at once.
 */
export function createMonotonicEpoch(clock: Pick<Clock, "now" | "monotonic">): () => number {
  let since = clock.now();
  let offset = since - clock.monotonic();
  return () => {
    const now = clock.now();
    const current = now - clock.monotonic();
    if (current - offset > JUMP_MS) since = now;
    // Set back: the same moment, as the clock shows it now.
    if (offset - current > JUMP_MS) since += current - offset;
    offset = current;
    return since;
  };
}

/** Since when a deadline counts: time in which berth could not act does not count. */
export function enteredOn({ since }: { since: number }, epoch: number): number {
  return Math.max(since, epoch);
}

/** `statusMs`: how long a container or image may stay in a passing state. */
type StatusLimit = { statusMs: number };

/** What a container waits for in each passing state. */
const WAITED_FOR: Record<PassingContainerState, readonly [code: FaultCode, what: string]> = {
  PENDING_START: ["START_TIMED_OUT", "its image to be ready"],
  STARTING: ["START_TIMED_OUT", "the container to accept connections"],
  CHECKING: ["START_TIMED_OUT", "its address to be verified"],
  PENDING_USER_STOP: ["STOP_TIMED_OUT", "open requests to end"],
  PENDING_SYSTEM_STOP: ["STOP_TIMED_OUT", "open requests to end"],
  STOPPING: ["STOP_TIMED_OUT", "the engine to stop it"],
};

/**
 * How long a container may stay in its state from now on, in milliseconds; undefined where it may stay for ever, and for a start, whose limit is the deploy's:
 * a pull extends it.
 */
export function containerTimeLeft({ row, image, now, epoch }: ContainerSituation, { statusMs }: StatusLimit): number | undefined {
  if (!isPassing(row.state) || row.state === "STARTING") return undefined;
  let from = enteredOn(row, epoch);
  if (row.state === "PENDING_START") {
    // All that is left is its turn, which comes: each start before it has a limit. Of a thousand that a restart of the machine ended, most wait for longer than that.
    if (image?.state === "READY") return undefined;
    // Neither back-off nor an image that is being pulled is the container's own delay.
    from = Math.max(from, row.notBefore, image && isPassingImage(image) ? image.since : 0);
  }
  // Its own time to end is not the engine's delay.
  if (row.state === "STOPPING") from += (row.config.shutdownGraceSeconds ?? 0) * 1_000;
  return from + statusMs - now;
}

export function imageTimeLeft(image: Image, { now, epoch }: Pick<ContainerSituation, "now" | "epoch">, { statusMs }: StatusLimit): number {
  return isPassingImage(image) ? enteredOn(image, epoch) + statusMs - now : statusMs;
}

export function timeoutFault({ name, state }: Container, { statusMs }: StatusLimit): Fault {
  const [code, what] = isPassing(state) ? WAITED_FOR[state] : (["INTERNAL", "nothing"] as const);
  return new Fault(code, `The container ${name} waited for ${what} for more than ${Math.round(statusMs / 1000)} s.`);
}

/** The use of a queue worker was measured just now. */
const FRESH_MS = 2_000;
/** The clock may be set meanwhile: warm hours are computed again after this time. */
const LONGEST_WAIT_MS = 3_600_000;

/**
 * How long until a container that runs is stopped for idleness, in milliseconds; undefined: not as things are. An open request is use. A queue worker whose use
 * is unknown is not idle. Time since this
 * process started counts at most, since use before that may not have been written.
 */
export function idleInMs({ row, now, epoch, usage }: ContainerSituation, limits: Pick<LifecycleLimits, "busyMs">): number | undefined {
  const minutes = row.config.shutdownTimeoutMinutes;
  if (minutes === undefined || usage.open > 0) return undefined;
  if (usage.measuredMsAgo === undefined) return undefined;
  const usedOn = Math.max(enteredOn(row, epoch), row.lastActive, usage.lastActive);
  const idleMs = Math.max(Math.max(usedOn + minutes * 60_000, usage.uncertainUntil) - now, busyMs(row, now, limits), warmMs(row, now));
  // A queue worker may have begun to work since it was measured: the next measurement decides.
  return idleMs <= 0 && usage.measuredMsAgo > FRESH_MS ? undefined : idleMs;
}

/** How long a container has reported that it is busy, from now on. After the clock was set back, no longer than the limit. */
export function busyMs({ busyUntil }: Pick<Container, "busyUntil">, now: number, limits: Pick<LifecycleLimits, "busyMs">): number {
  return Math.max(0, Math.min(busyUntil - now, limits.busyMs));
}

/** How long its warm hours keep it running, in milliseconds. */
export function warmMs(row: Pick<Container, "config" | "warmUp">, now: number): number {
  const until = warmUntil(warmHourLines(row), now);
  return until === undefined ? 0 : until - now;
}

/** Whether `now` is in hours of its container.json, and not only in those that were learned from its use. */
function isKeptWarm({ config }: Pick<Container, "config">, now: number): boolean {
  return config.keepWarm !== undefined && warmUntil(config.keepWarm, now) !== undefined;
}

/** All hours in which it is kept warm. */
export function warmHourLines({ config: { keepWarm = [] }, warmUp }: Pick<Container, "config" | "warmUp">): readonly string[] {
  return warmUp === undefined ? keepWarm : [...keepWarm, ...warmUp.hours];
}

/**
 * How long until the warm hours of a stopped container begin, in milliseconds; 0: they have. Undefined for one that a user stopped or whose start
 * failed: a user or a request starts it.
 */
function warmInMs(row: Container, now: number): number | undefined {
  const lines = warmHourLines(row);
  if (lines.length === 0 || row.stopFor !== "system") return undefined;
  if (warmMs(row, now) > 0) return 0;
  const begin = nextWarm(lines, now);
  return begin === undefined ? undefined : Math.min(begin - now, LONGEST_WAIT_MS);
}

/**
 * A stop for idleness, of what is to run at its address: a request that is there, before its gateway received the stop, is use. With a start requested
 * all the same it is being replaced, unless a request made that after the stop.
 */
function isIdleStop(row: Container): boolean {
  const { state, stopFor, addresses, desiredInstances, runningGeneration, generation } = row;
  // Others serve what a replica has no place for.
  if (row.replicaOf !== undefined) return false;
  if (state !== "PENDING_SYSTEM_STOP" || stopFor !== "system" || addresses.length === 0 || isExpiredStop(row)) return false;
  return desiredInstances === 0 || runningGeneration === generation;
}

/** Stopped, and to stay so, with nothing of it paused. Should it run all the same, the sweep finds it. */
export function isStoppedAsDesired({ state, desiredInstances, pausedOn }: Pick<Container, "state" | "desiredInstances" | "pausedOn">): boolean {
  return isStopped(state) && desiredInstances === 0 && pausedOn === undefined;
}

/**
 * Whether a stop that begins now, with nothing open, is to pause the container: only one that is stopped for idleness, is well and of the newest definition,
 * and may run for any time: `max_minutes` are to end what a pause would keep.
 * A frozen queue worker would still get tasks from its queue. Any other stop is meant to end it, and so is one with connections that did not end in time: their clients would not learn that the other side is paused.
 */
function mayPause(row: Container, { pausedMs }: Pick<LifecycleLimits, "pausedMs">): boolean {
  const { desiredInstances, stopFor, fault, adopted, deployed, runningGeneration, generation } = row;
  const isIdle =
    desiredInstances === 0 &&
    stopFor === "system" &&
    row.config.maxMinutes === undefined &&
    fault === undefined &&
    adopted === undefined &&
    row.replicaOf === undefined &&
    !deployed?.worker;
  return pausedMs > 0 && isIdle && runningGeneration === generation;
}

/** Whether a paused container may stay so: it holds memory, so not for ever, and only where the next request would resume it as it is. */
export function mayStayPaused(
  { state, pausedOn, generation }: Pick<Container, "state" | "pausedOn" | "generation">,
  observed: Observed | undefined,
  now: number,
  limits: Pick<LifecycleLimits, "pausedMs">,
): boolean {
  if (!observed?.paused || state !== "SYSTEM_STOPPED" || pausedOn === undefined || observed.labels.generation !== generation) return false;
  const pausedMs = now - pausedOn;
  // Less than nothing: the clock was set back, and the time that has passed is unknown.
  return pausedMs >= 0 && pausedMs < limits.pausedMs;
}
