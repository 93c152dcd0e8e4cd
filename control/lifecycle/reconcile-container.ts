import { type Observed, STOP_GRACE_SECONDS } from "../../drivers/driver.ts";
import { Fault } from "../../lib/fault.ts";
import type { Container, ContainerPatch } from "../model/entities.ts";
import { isPassing, isStopped, laneOf } from "../model/states.ts";
import { type CapacityLimits, hasPlace, PLACE_RETRY_MS } from "./capacity.ts";
import {
  confirmAddress,
  markLostAsObserved,
  recoverContainer,
  type SuspectAddress,
  updateAddresses,
  verifyAddress,
  type VerifyDeps,
} from "./check-container.ts";
import {
  type ContainerAction,
  type ContainerSituation,
  containerTimeLeft,
  decide,
  decideIdle,
  type ReadSituation,
  restartPatch,
  timeoutFault,
} from "./decide.ts";
import { nextDependencyStep, startDependency, startResting } from "./dependencies.ts";
import type { DeployParts } from "./deploy.ts";
import type { LifecycleRequests } from "./desired-state.ts";
import { isEngineTrouble } from "./engine.ts";
import { failurePatch, isSameDecision } from "./moves.ts";
import { beginStart, type BegunStart, failStart, revalidateImage, startContainer, type StartDeps, type StartSlots } from "./start-container.ts";
import { endPaused, finalizeRemoval, releaseAdopted, stopContainer, type StopDeps } from "./stop-container.ts";
import { containerKey, imageKey, type PendingStart, replicasKey, type WorkOptions, type WorkQueue } from "./work-queue.ts";

/** `moved`: decide again at once, about the row as it is now where that is known. `settled`: something else requests the next look. */
type ContainerOutcome = "moved" | "settled" | BegunStart | { waitMs: number };

export type ContainerDeps = StartDeps &
  StopDeps &
  VerifyDeps & {
    situationOf: ReadSituation;
    suspect: SuspectAddress;
    slots: StartSlots;
    queue: Pick<WorkQueue, "add" | "addAfter">;
    requestStart: LifecycleRequests["requestStart"];
    capacity: CapacityLimits;
    /** As `SpecSource.leaderEpoch`. */
    leaderEpoch?: number | undefined;
    lateStarts: { add(): void };
    /** Containers whose stop waits for what gateways report. */
    draining: Set<string>;
  };

/**
 * Brings one container as far as it comes now in this lane; what is next in another waits for a worker there. May be called at any time, and again after a crash at any line.
 * Faults: ENGINE_UNREACHABLE, ENGINE_FAILED, and the store's; the queue tries again.
 */
export async function reconcileContainer(deps: ContainerDeps, id: string, options: ReconcileOptions): Promise<void> {
  const cancel = options.lane === "stop" ? deps.clock.after(STOP_GRACE_SECONDS * 1_000, options.leaveLane) : undefined;
  try {
    await reconcile(deps, id, options);
  } finally {
    cancel?.();
    deps.slots.leave(id);
  }
}

/**
 * `pending`: a start that was requested just now. `leaveLane`: a stop that takes longer than the usual grace time, because its container has a longer one, lets
 * others of its lane go first.
 */
type ReconcileOptions = { signal: AbortSignal } & WorkOptions;

async function reconcile(deps: ContainerDeps, id: string, { signal, lane, pending }: ReconcileOptions): Promise<void> {
  const { store, queue, limits } = deps;
  let begun = pending && (await beginPending(deps, pending, signal));
  for (;;) {
    signal.throwIfAborted();
    const prepared = begun?.parts;
    const [row, image] = begun ? [begun.moved, begun.parts.image] : await Promise.all([store.containers.find(id), store.images.ofContainer(id)]);
    begun = undefined;
    if (!row) return finalizeRemoved(deps, id, signal);
    if (laneOf(row) !== lane) return queue.add(containerKey(id));
    const ends = deps.ends.count(id);
    const situation = await deps.situationOf(row, "unknown", image);
    const leftMs = containerTimeLeft(situation, limits);
    if (leftMs !== undefined && leftMs <= 0) {
      await timeOut(deps, row);
      continue;
    }
    // Set before the step, so that one that fails is looked at in time as well.
    if (leftMs !== undefined) queue.addAfter(containerKey(id), leftMs);
    const outcome = await step(deps, situation, { ends, signal, parts: prepared });
    if (outcome === "moved") continue;
    if (outcome === "settled") return;
    if ("waitMs" in outcome) return queue.addAfter(containerKey(id), outcome.waitMs);
    begun = outcome;
  }
}

async function finalizeRemoved(deps: ContainerDeps, id: string, signal: AbortSignal): Promise<void> {
  const drainMs = await finalizeRemoval(deps, id, signal);
  if (drainMs === undefined) return void deps.draining.delete(id);
  deps.draining.add(id);
  deps.queue.addAfter(containerKey(id), drainMs);
}

/** Without a look before: the transaction that begins the start decides by what it reads. Undefined: something else is to be done. */
function beginPending(deps: ContainerDeps, pending: PendingStart, signal: AbortSignal): Promise<BegunStart | undefined> {
  const { limits, draining } = deps;
  draining.delete(pending.id);
  return beginStart(deps, pending, signal, async (now, image) => {
    const situation = await deps.situationOf(now, "unknown", image);
    return (containerTimeLeft(situation, limits) ?? 1) > 0 && decide(situation, limits).kind === "beginStart";
  });
}

async function timeOut({ moves, clock, startDelay, limits }: ContainerDeps, row: Container): Promise<void> {
  const fault = row.fault && isEngineTrouble(row.fault.code) ? row.fault : timeoutFault(row, limits).toJSON();
  const attempts = row.attempts + 1;
  await moves.container(row, "timedOut", failurePatch(fault, attempts, clock.now() + startDelay(attempts)));
}

/** An engine that does not answer is stored as the cause, in case the state times out meanwhile. */
async function step(deps: ContainerDeps, situation: ContainerSituation, options: ActOptions): Promise<ContainerOutcome> {
  const { row } = situation;
  const { signal } = options;
  try {
    return await decideAndAct(deps, situation, options);
  } catch (error) {
    if (!signal.aborted && isPassing(row.state) && error instanceof Fault && isEngineTrouble(error.code) && row.fault?.code !== error.code) {
      const fault = error.toJSON();
      await deps.store.transaction(async () => {
        if ((await deps.store.containers.find(row.id))?.state === row.state) await deps.store.containers.update(row.id, { fault });
      });
    }
    throw error;
  }
}

/** The row may change while the driver is called: then it is decided anew. */
async function decideAndAct(deps: ContainerDeps, read: ContainerSituation, options: ActOptions): Promise<ContainerOutcome> {
  const { store, engine, limits, situationOf, draining } = deps;
  const { row } = read;
  const { signal } = options;
  let situation = read;
  let action = decide(situation, limits);
  const decideAgain = async (observed: ContainerSituation["observed"]): Promise<boolean> => {
    const now = await store.containers.find(row.id);
    if (now?.state !== row.state) return false;
    situation = await situationOf(now, observed);
    action = decide(situation, limits);
    return true;
  };
  if (action.kind === "observe") {
    const observed = await engine.observe(row, signal);
    recognizeLateStart(deps, row, observed);
    if (!(await decideAgain(observed))) return "moved";
  }
  if (action.kind === "endPaused") {
    await endPaused(deps, situation.row, signal);
    if (!(await decideAgain(undefined))) return "moved";
  }
  if (action.kind !== "drain") draining.delete(row.id);
  return act(deps, situation, action, options);
}

/** A call of an earlier leader took effect after this one had stopped the container, or found it stopped. It is stopped like any other that runs so. */
function recognizeLateStart({ lateStarts, log, leaderEpoch = 0 }: ContainerDeps, row: Container, observed: Observed | undefined): void {
  const epoch = observed?.labels.epoch;
  if (!observed?.running || epoch === undefined || epoch >= leaderEpoch || !isStopped(row.state)) return;
  log.warn({ container: row.id, service: row.service, epoch, leader: leaderEpoch }, "late start by an earlier leader");
  lateStarts.add();
}

/** What the deploy has just confirmed is not queried again. */
async function afterStart(deps: ContainerDeps, started: Container | undefined, options: ActOptions): Promise<ContainerOutcome> {
  if (started?.desiredInstances !== 1 || started.runningGeneration !== started.generation) return "moved";
  const situation = await deps.situationOf(started, "unknown");
  return act(deps, situation, decideIdle(situation, deps.limits), options);
}

type ActOptions = {
  /** How many ends of the container were reported before the orchestrator was queried. */
  ends: number;
  signal: AbortSignal;
  /** Of a start that has just begun. */
  parts?: DeployParts | undefined;
};

async function act(deps: ContainerDeps, situation: ContainerSituation, action: ContainerAction, options: ActOptions): Promise<ContainerOutcome> {
  const { row } = situation;
  const { signal } = options;
  switch (action.kind) {
    case "settle":
    case "observe":
    case "endPaused":
      return "settled";
    case "wait":
      return { waitMs: action.ms };
    case "awaitTurn":
      deps.queue.add(replicasKey(row.replicaOf ?? row.id));
      return action.ms === undefined ? "settled" : { waitMs: action.ms };
    case "awaitDependencies":
      for (const id of action.start) await startDependency(deps, row, id);
      return "settled";
    case "move":
      if (action.event === "idled") return stopIdle(deps, row, action.patch);
      if (action.event === "usedAfterAll") return useAfterAll(deps, row, action.patch);
      if (action.event === "expired") return stopExpired(deps, row, action.patch);
      if (action.event === "startWished" && isStopped(row.state) && row.desiredInstances === 0) return startWarm(deps, row, action.patch);
      return (await deps.moves.container(row, action.event, action.patch)) || (await hasChangedSince(deps, row)) ? "moved" : "settled";
    case "awaitImage":
      deps.queue.add(imageKey(row.imageId));
      return "settled";
    case "revalidateImage":
      await revalidateImage(deps, row.imageId);
      return "settled";
    case "releaseAdopted":
      return (await releaseAdopted(deps, row, signal)) ? "moved" : "settled";
    case "beginStart":
      return (await beginStart(deps, row, signal, async (now) => isSameDecision(row, now) && (await hasDependencies(deps, now)))) ?? "moved";
    case "failStart":
      await failStart(deps, row, action.fault);
      return "moved";
    case "deploy":
      return afterStart(deps, await startContainer(deps, row, signal, options.parts), options);
    case "suspectAddress":
      return (await deps.suspect(row)) || (await hasChangedSince(deps, row)) ? "moved" : "settled";
    case "updateAddresses":
      return (await updateAddresses(deps, row, { ...options, observed: action.observed })) ? "moved" : { waitMs: deps.limits.sweepMs };
    case "markLost":
      await markLostAsObserved(deps, row, action.observed, signal);
      return "moved";
    case "confirmAddress":
      await confirmAddress(deps, row, { ...options, observed: action.observed });
      return "settled";
    case "verifyAddress":
      // Not at once: a driver that reports one address at a deploy and another at an inspect would be checked without end.
      return (await verifyAddress(deps, row, { ...options, observed: action.observed })) ? { waitMs: deps.limits.sweepMs } : "moved";
    case "recover":
      return (await recoverContainer(deps, row, options)) ? "moved" : "settled";
    case "drain":
      deps.draining.add(row.id);
      return { waitMs: action.ms };
    case "stop": {
      const leftMs = async () => Math.max(1, containerTimeLeft(await deps.situationOf(row, "unknown"), deps.limits) ?? deps.limits.callMs);
      await stopContainer(deps, row, { leftMs, signal });
      return "moved";
    }
  }
}

async function hasDependencies({ dependencies, clock }: ContainerDeps, row: Container): Promise<boolean> {
  return nextDependencyStep(row, await dependencies.of(row), clock.now()).kind === "ready";
}

/** Not while a container that depends on it runs: its end causes another look. In one transaction, so that none is requested in between. */
function stopIdle(deps: ContainerDeps, row: Container, patch: ContainerPatch): Promise<ContainerOutcome> {
  return deps.store.transaction(async () => {
    if (await deps.dependencies.awaitDependents(row)) return "settled";
    return (await deps.moves.container(row, "idled", patch)) || (await hasChangedSince(deps, row)) ? "moved" : "settled";
  });
}

/** It goes on running, with what it depends on. */
function useAfterAll(deps: ContainerDeps, row: Container, patch: ContainerPatch): Promise<ContainerOutcome> {
  return deps.store.transaction(async () => {
    const moved = await deps.moves.container(row, "usedAfterAll", patch);
    if (moved) await startResting(deps, moved);
    return moved || (await hasChangedSince(deps, row)) ? "moved" : "settled";
  });
}

/** Its warm hours have begun. In one transaction: a thousand begin at the same moment. */
function startWarm(deps: ContainerDeps, row: Container, patch: ContainerPatch): Promise<ContainerOutcome> {
  return deps.store.transaction(async () => {
    if (!(await hasPlace(deps, row))) return { waitMs: PLACE_RETRY_MS };
    return (await deps.moves.container(row, "startWished", patch)) || (await hasChangedSince(deps, row)) ? "moved" : "settled";
  });
}

/** While a container that depends on it runs, it is not left stopped: it starts again. */
function stopExpired(deps: ContainerDeps, row: Container, patch: ContainerPatch): Promise<ContainerOutcome> {
  return deps.store.transaction(async () => {
    const isNeeded = (await deps.dependencies.dependentsOf(row)).length > 0;
    const moved = await deps.moves.container(row, "expired", isNeeded ? restartPatch(deps.clock.now()) : patch);
    return moved || (await hasChangedSince(deps, row)) ? "moved" : "settled";
  });
}

/** The move was refused because what it was decided on has changed since. */
async function hasChangedSince({ store }: ContainerDeps, row: Container): Promise<boolean> {
  return !isSameDecision(row, await store.containers.find(row.id));
}
