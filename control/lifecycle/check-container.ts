import { type Deployment, killHint, type Observed } from "../../drivers/driver.ts";
import type { Clock } from "../../lib/clock.ts";
import { Fault } from "../../lib/fault.ts";
import type { Log } from "../../lib/log.ts";
import type { Container, ContainerPatch, OwnedAddress } from "../model/entities.ts";
import type { Store } from "../store/open-store.ts";
import { type EndCounts, hasAddress, ownedAddresses, stillReported } from "./addresses.ts";
import type { Changes } from "./changes.ts";
import { type Dependencies, startResting } from "./dependencies.ts";
import { confirmDeployment, type ConfirmDeps, type Deploy } from "./deploy.ts";
import { type ContainerEngine, logTailLines } from "./engine.ts";
import type { Outages } from "./outages.ts";
import type { LifecycleLimits } from "./limits.ts";
import { failurePatch, type Moves, NOT_RUNNING } from "./moves.ts";

export type SuspectAddress = (row: Container, patch?: ContainerPatch, byUser?: string) => Promise<Container | undefined>;

type SuspectAddressDeps = {
  moves: Pick<Moves, "container">;
  outages: Pick<Outages, "mayHaveEnded">;
  clock: Pick<Clock, "now">;
  limits: Pick<LifecycleLimits, "stableMs">;
};

/**
 * Marks a container's addresses as suspect: nothing is sent to it until the check has verified where the container is. The check has a clock of its own, so the row
 * keeps whether it ran well until now, or may have ended with the engine.
 */
export function createSuspectAddress({ moves, outages, clock, limits }: SuspectAddressDeps): SuspectAddress {
  return (row, patch = {}, byUser) => {
    const now = clock.now();
    const isForgiven = isStable(row, now, limits) || outages.mayHaveEnded(row.since);
    // A start requested at this very moment has another cause, unless the event is its cause.
    const since = row.requestedOn === now && patch.requestedOn === undefined ? now + 1 : now;
    return moves.container(row, "doubted", { since, ...patch, addresses: [], ...(isForgiven ? { attempts: 0 } : {}) }, { byUser });
  };
}

export type WithdrawDeps = { moves: Pick<Moves, "update">; suspect: SuspectAddress };

/** Withdraws all addresses but these. A container that runs and has none left is checked. To be called in the transaction that has read the container. */
export async function keepAddresses({ moves, suspect }: WithdrawDeps, row: Container, remaining: readonly OwnedAddress[]): Promise<void> {
  if (remaining.length === row.addresses.length) return;
  if (remaining.length === 0 && row.state === "STARTED") await suspect(row);
  else await moves.update(row.id, { addresses: remaining });
}

export type ReportEndDeps = WithdrawDeps & {
  store: Pick<Store, "containers" | "transaction">;
  changes: Pick<Changes, "publish">;
  ends: EndCounts;
  log: Log;
};

/**
 * The orchestrator has reported that an instance of the container ended: from then on its addresses may be another's, so they are taken away at once, before
 * any inspection. The end of an earlier instance does not concern the one that runs.
 */
export async function reportEnd({ store, changes, ends, log, ...deps }: ReportEndDeps, id: string, instance: string | undefined): Promise<void> {
  ends.record(id);
  let row: Container | undefined;
  try {
    await store.transaction(async () => {
      row = await store.containers.find(id);
      if (row) await keepAddresses(deps, row, addressesOfOthers(row, instance));
    });
  } catch (error) {
    if (!(error instanceof Fault) || row === undefined) throw error;
    // A full disk must not cause requests to be sent there.
    log.error({ container: id, fault: error.code }, "end of a container not stored");
    const addresses = addressesOfOthers(row, instance);
    changes.publish({ ...row, state: row.state === "STARTED" && addresses.length === 0 ? "CHECKING" : row.state, addresses });
  }
}

/** Those that the end of this instance does not concern. */
function addressesOfOthers({ addresses }: Container, instance: string | undefined): OwnedAddress[] {
  return addresses.filter((one) => instance !== undefined && one.instance !== undefined && one.instance !== instance);
}

export type VerifyDeps = ConfirmDeps &
  MarkLostDeps & {
    moves: Pick<Moves, "container">;
    deploy: Deploy;
    clock: Pick<Clock, "now">;
    limits: LifecycleLimits;
  };

/** `observed`: as the orchestrator reported it; `ends`: how many ends were reported before that. */
type VerifyOptions = { observed: Observed; ends: number; signal: AbortSignal };

/** Takes the addresses that the orchestrator reported. */
export async function confirmAddress(deps: VerifyDeps, row: Container, { observed, ends, signal }: VerifyOptions): Promise<void> {
  const patch = { addresses: ownedAddresses(observed.addresses, observed.instance), fault: undefined };
  await confirmDeployment(deps, row, observed, { ends, isNew: false, signal }, () =>
    deps.moves.container(row, "foundRunning", patch, { isFact: true }),
  );
}

/**
 * Takes the addresses that the orchestrator reported for a container that stays in use at those that it still has. False where the report was out of date.
 */
export async function updateAddresses(deps: ConfirmDeps & WithdrawDeps, row: Container, { observed, ends, signal }: VerifyOptions): Promise<boolean> {
  const { store, moves } = deps;
  const current = async () => {
    const now = await store.containers.find(row.id);
    return now?.state === "STARTED" ? now : undefined;
  };
  // Whatever becomes of the new ones.
  await store.transaction(async () => {
    const now = await current();
    if (now) await keepAddresses(deps, now, stillReported(observed, now.addresses));
  });
  const addresses = ownedAddresses(observed.addresses, observed.instance);
  if (addresses.every((one) => hasAddress(row.addresses, one))) return true;
  try {
    return await confirmDeployment(deps, row, observed, { ends, isNew: false, signal }, async () => {
      if (await current()) await moves.update(row.id, { addresses });
      return true;
    });
  } catch (error) {
    if (error instanceof Fault && error.code === "CONTAINER_CRASHED") return false;
    throw error;
  }
}

/** Deploys what already runs, which verifies its addresses. True where that succeeded. */
export async function verifyAddress(deps: VerifyDeps, row: Container, { observed, ends, signal }: VerifyOptions): Promise<boolean> {
  const { store, moves, deploy, clock, limits } = deps;
  let deployment: Deployment;
  try {
    // From now on, not from the suspicion: a deploy that is late removes what runs, and the engine may have been away until now.
    deployment = await deploy({ ...row, since: clock.now() }, signal, { limitMs: Math.min(limits.checkMs, limits.statusMs) });
  } catch (error) {
    signal.throwIfAborted();
    const now = await store.containers.find(row.id);
    if (now?.state !== "CHECKING") return false;
    if (!(error instanceof Fault) || error.code === "ENGINE_UNREACHABLE") throw error;
    await markLost(deps, now, error);
    return false;
  }
  try {
    return await confirmDeployment(deps, row, deployment, { ends, isNew: false, signal }, async () => {
      if (observed.running && isReplaced(observed, deployment)) {
        const now = await store.containers.find(row.id);
        // An orchestrator may report an instance as running for a moment after its end; the deploy replaced it.
        if (now?.state === "CHECKING") await markLost(deps, now, replacedFault(row));
        return false;
      }
      await moves.container(row, "foundRunning", runningPatch(row, deployment), { isFact: true });
      return true;
    });
  } catch (error) {
    // Observed again: what ran a moment ago has ended.
    if (error instanceof Fault && error.code === "CONTAINER_CRASHED") return false;
    throw error;
  }
}

/** Of one in ERROR that was observed to run: an answer ends the error. False where it does not answer. */
export async function recoverContainer(
  { moves, deploy, clock, ...deps }: VerifyDeps & Parameters<typeof startResting>[0],
  row: Container,
  { ends, signal }: Omit<VerifyOptions, "observed">,
): Promise<boolean> {
  try {
    const deployment = await deploy({ ...row, since: clock.now() }, signal);
    await confirmDeployment(deps, row, deployment, { ends, isNew: false, signal }, async () => {
      const moved = await moves.container(row, "foundRunning", runningPatch(row, deployment), { isFact: true });
      if (moved?.desiredInstances === 1) await startResting(deps, moved);
    });
    return true;
  } catch (error) {
    signal.throwIfAborted();
    if (!(error instanceof Fault)) throw error;
    return (await deps.store.containers.find(row.id))?.state !== "ERROR";
  }
}

function runningPatch({ generation }: Container, { addresses, instance }: Deployment): ContainerPatch {
  return { addresses: ownedAddresses(addresses, instance), runningGeneration: generation, fault: undefined };
}

function isReplaced(before: Observed, { instance }: Deployment): boolean {
  return before.instance !== undefined && instance !== undefined && before.instance !== instance;
}

function replacedFault({ name }: Container): Fault {
  return new Fault("CONTAINER_CRASHED", `The container ${name} ended. The engine reported it as running until it was replaced.`);
}

type MarkLostDeps = {
  store: Pick<Store, "containers" | "history">;
  engine: Pick<ContainerEngine, "logTail">;
  moves: Pick<Moves, "container">;
  outages: Pick<Outages, "mayHaveEnded">;
  clock: Pick<Clock, "now">;
  limits: Pick<LifecycleLimits, "stableMs" | "lossesInARow">;
  dependencies: Pick<Dependencies, "dependentsOf">;
  /** Other replicas of it serve. */
  isServedByReplicas(id: string): boolean;
  /** How long to wait after so many failures in a row, in milliseconds. */
  startDelay: (attempts: number) => number;
};

/**
 * The container should run and does not. An on-demand one sleeps until the next request, unless one requests it already, or a container that depends on it or another replica of it runs; any other is started
 * again: at once the first time, since it had run, then more slowly each time, and given up after several losses in a row that
 * each came soon after a start. What may have ended with the engine does not count.
 */
async function markLost(deps: MarkLostDeps, row: Container, fault: Fault): Promise<void> {
  const { store, moves, outages, clock, limits, startDelay } = deps;
  const now = clock.now();
  const attempts = outages.mayHaveEnded(await startedOn(store, row)) ? 0 : isStable(row, now, limits) ? 1 : row.attempts + 1;
  const notBefore = now + (attempts <= 1 ? 0 : startDelay(attempts - 1));
  const patch = { ...failurePatch(fault.toJSON(), attempts, notBefore), ...NOT_RUNNING };
  const isNeeded = async () => deps.isServedByReplicas(row.id) || (await deps.dependencies.dependentsOf(row)).length > 0;
  if (row.config.onDemand && !isRequested(row) && !(await isNeeded())) {
    await moves.container(row, "lostAsleep", { ...patch, desiredInstances: 0, stopFor: "system" });
    return;
  }
  const pending = await moves.container(row, "lost", { ...patch, requestedOn: now, requestedFor: "loss" });
  if (pending && attempts >= limits.lossesInARow) await moves.container(pending, "startFailed", { fault: fault.toJSON() });
}

/** Marks a container lost that does not run as observed; unless it has moved by the time its log tail is read. */
export async function markLostAsObserved(deps: MarkLostDeps, row: Container, observed: Observed | undefined, signal: AbortSignal): Promise<void> {
  const fault = await lossFault(deps, row, observed, signal);
  const now = await deps.store.containers.find(row.id);
  if (now?.state === row.state) await markLost(deps, now, fault);
}

async function lossFault(
  { engine, outages, store }: MarkLostDeps,
  row: Container,
  observed: Observed | undefined,
  signal: AbortSignal,
): Promise<Fault> {
  const { name } = row;
  if (!observed) return new Fault("CONTAINER_CRASHED", `The container ${name} is gone: something other than berth removed it.`);
  const logs = await logTailLines(engine, row, signal);
  if (observed.exit?.outOfMemory) {
    const sentence = `The container ${name} ran out of memory and was killed. Raise \`memory\` in container.json.`;
    return new Fault("CONTAINER_OUT_OF_MEMORY", sentence, { logs });
  }
  // Also after a restart of berth, which the engine outlived.
  const withEngine = outages.mayHaveEnded(await startedOn(store, row))
    ? " It may have ended with the container engine, whose events were interrupted after its start."
    : "";
  const { code, outOfMemory } = observed.exit ?? {};
  const how = observed.paused ? "was frozen by something other than berth" : `ended with code ${code ?? "unknown"}${killHint(code, outOfMemory)}`;
  return new Fault("CONTAINER_CRASHED", `The container ${name} ${how}.${withEngine}`, { logs });
}

/** It has run for so long that its earlier failures no longer count. */
function isStable(row: Container, now: number, { stableMs }: Pick<LifecycleLimits, "stableMs">): boolean {
  return row.state === "STARTED" && now - row.since >= stableMs;
}

/** When it last entered STARTED, before its address became suspect. Epoch ms. */
async function startedOn({ history }: Pick<Store, "history">, row: Container): Promise<number> {
  if (row.state === "STARTED") return row.since;
  return (await history.of(row.id)).findLast(({ toState }) => toState === "STARTED")?.at ?? row.since;
}

/** A request was refused at its address, which is why that is being checked. */
function isRequested(row: Container): boolean {
  return row.state === "CHECKING" && row.requestedOn >= row.since;
}
