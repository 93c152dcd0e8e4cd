import { randomUUID } from "node:crypto";
import type { Driver } from "../../drivers/driver.ts";
import type { Clock } from "../../lib/clock.ts";
import { type Container, type ContainerConfig, newContainer, type ReplicasConfig } from "../model/entities.ts";
import { serviceName } from "../model/names.ts";
import { lifetimeLeftMs } from "../model/lifetime.ts";
import { isStarting, isStopped } from "../model/states.ts";
import type { Store } from "../store/open-store.ts";
import { type CapacityDeps, hasPlace, PLACE_RETRY_MS, placesFor } from "./capacity.ts";
import type { Changes } from "./changes.ts";
import { busyMs, idleInMs, isReplaceable, redefinitionPatch, type ReadSituation, restartPatch, restartsInTurn } from "./decide.ts";
import type { LifecycleRequests } from "./desired-state.ts";
import type { InFlightOperations } from "./engine.ts";
import type { LifecycleLimits } from "./limits.ts";
import type { Moves } from "./moves.ts";
import type { ReplicaLoads } from "./replica-loads.ts";
import { hasOneReplica, isServing, type ReplicaSet, type ReplicaSets, servingReplicas, turnsOf } from "./replica-sets.ts";
import type { ReplicaShares } from "./replica-shares.ts";
import { containerKey, placeOfRow, replicasKey, type WorkQueue } from "./work-queue.ts";

export type ReplicaDeps = {
  store: Pick<Store, "containers" | "images" | "transaction" | "afterCommit">;
  changes: Pick<Changes, "publish">;
  moves: Pick<Moves, "container" | "update">;
  queue: Pick<WorkQueue, "add" | "addAfter">;
  inFlight: Pick<InFlightOperations, "abort">;
  requests: Pick<LifecycleRequests, "requestStart" | "definitionChanged" | "remove">;
  replicas: ReplicaSets;
  loads: ReplicaLoads;
  shares: ReplicaShares;
  capacity: CapacityDeps["capacity"];
  /** The containers that need more replicas than the limits of all containers have a place for. */
  withoutPlace: Set<string>;
  situationOf: ReadSituation;
  usage: { open(id: string): number; sockets(id: string): number };
  driver: Pick<Driver, "replicas">;
  environment: string;
  clock: Pick<Clock, "now">;
  limits: Pick<LifecycleLimits, "busyMs">;
};

/** How often the number of replicas is decided while there are several, or requests. */
const TICK_MS = 2_000;

/**
 * Brings the number of a container's further replicas to what its load needs. It only writes which of them are desired: each is then reconciled as every
 * container is. May be called at any time, and again after a crash at any line.
 */
export async function adjustReplicas(deps: ReplicaDeps, id: string): Promise<void> {
  const { store, requests, queue, driver } = deps;
  // Each report of a gateway asks, and nearly always nothing is to be done.
  if (isSteady(deps, id)) {
    deps.withoutPlace.delete(id);
    return lookAgain(deps, id);
  }
  const [row, others] = await Promise.all([store.containers.find(id), store.containers.replicasOf(id)]);
  const config = row?.config.replicas;
  const max = config?.max ?? 1;
  for (const one of others) {
    if (row === undefined) await requests.remove(one.id);
    else if ((one.replica ?? 0) > max) await removeSurplus(deps, row, one);
  }
  if (row === undefined || config === undefined || max === 1) {
    deps.withoutPlace.delete(id);
    return deps.loads.forget(id);
  }
  const kept = others.filter((one) => (one.replica ?? 0) <= max);
  for (const one of kept) if (hasOtherDefinition(one, row)) await redefineReplica(deps, one, row);
  const needed = await wantedReplicas(deps, row, config, kept);
  const due = await dueReplacements(deps, row, kept);
  // One more serves before one is replaced, where that many are allowed.
  const surged = due.length > 0 && row.state === "STARTED" ? Math.min(config.max, needed + 1) : needed;
  const desired = kept.filter((one) => one.desiredInstances === 1).length;
  // A driver that is still to be chosen can nothing yet: what runs goes on.
  const missing = driver.replicas === undefined ? 0 : surged - 1 - desired;
  const places = await placesFor(deps, row, missing);
  const share = deps.shares.take(row, places);
  // Without a place for one more, one is replaced at once: fewer are wanted.
  const wanted = Math.min(surged, 1 + desired + share.granted);
  if (places < missing) queue.addAfter(replicasKey(id), PLACE_RETRY_MS);
  if (places < missing && 1 + desired + places < needed) deps.withoutPlace.add(id);
  else deps.withoutPlace.delete(id);
  const busyForMs = await setDesired(deps, row, kept, Math.max(0, wanted - 1)).finally(share.done);
  if (busyForMs !== undefined) queue.addAfter(replicasKey(id), busyForMs);
  const retryMs = await retryFailed(deps, row, kept, { isRollout: due.length > 0 });
  if (retryMs !== undefined) queue.addAfter(replicasKey(id), Math.max(1, retryMs));
  await replaceNext(deps, due, { all: [row, ...kept], wanted, needed });
  lookAgain(deps, id);
}

/** While there are several, or requests, time alone changes how many are needed. */
function lookAgain({ replicas, loads, shares, queue }: ReplicaDeps, id: string): void {
  const set = replicas.of(id);
  const config = set?.container.config.replicas;
  if (set === undefined || config === undefined || set.container.desiredInstances === 0) return;
  const desired = 1 + desiredOf(set).length;
  if (desired > Math.max(1, config.min) || loads.isUsed(id) || shares.isWaiting(id)) queue.addAfter(replicasKey(id), TICK_MS);
}

function desiredOf({ others }: ReplicaSet): Container[] {
  return [...others.values()].filter((one) => one.desiredInstances === 1);
}

/** True if nothing is to be done, by what is in memory: all are as they are to be, and their number is the one that is needed. */
function isSteady(deps: ReplicaDeps, id: string): boolean {
  const { replicas, loads, driver, clock } = deps;
  const set = replicas.of(id);
  const config = set?.container.config.replicas;
  if (set === undefined || config === undefined || driver.replicas === undefined) return false;
  const { container: row, others } = set;
  const rest = [...others.values()];
  if (rest.some((one) => (one.replica ?? 0) > config.max || hasOtherDefinition(one, row))) return false;
  const isAtRest = ({ state, desiredInstances }: Container) => desiredInstances === 0 && isStopped(state);
  if (row.desiredInstances === 0) {
    if (!rest.every(isAtRest)) return false;
    loads.forget(id);
    return true;
  }
  if (hasOneReplica(row) || !isServing(row) || !rest.every((one) => isAtRest(one) || isServing(one))) return false;
  if ([row, ...rest].some((one) => isServing(one) && isPastUse(one, row, clock.now()))) return false;
  const desired = 1 + desiredOf(set).length;
  return neededFor(deps, row, config, { ready: desired, desired }) === desired;
}

/** It runs an older definition, or has run for its `max_minutes`. */
function isPastUse(one: Container, { generation }: Container, now: number): boolean {
  return one.runningGeneration !== generation || (lifetimeLeftMs(one, now) ?? 1) <= 0;
}

type DueReplacement = { row: Container; isOld: boolean };

/** Replicas that serve, and are to be replaced when their turn comes; the container itself first. */
async function dueReplacements(deps: ReplicaDeps, row: Container, others: readonly Container[]): Promise<DueReplacement[]> {
  const { store, replicas, driver, clock } = deps;
  if (row.desiredInstances === 0 || turnsOf(replicas, row, driver.replicas !== undefined) === undefined) return [];
  const past = [row, ...others].filter((one) => isServing(one) && isPastUse(one, row, clock.now()));
  if (past.length === 0) return [];
  const mayBeRedefined = isReplaceable(await store.images.find(row.imageId));
  return past.flatMap((one): DueReplacement[] => {
    if (mayBeRedefined && one.runningGeneration !== row.generation) return [{ row: one, isOld: true }];
    const isExpired = (lifetimeLeftMs(one, clock.now()) ?? 1) <= 0;
    return isExpired && restartsInTurn({ row: one, turns: turnsOf(replicas, one, true) }) ? [{ row: one, isOld: false }] : [];
  });
}

type Rollout = { all: readonly Container[]; wanted: number; needed: number };

/** Replaces one, if all that are to run serve: a newer definition that does not start replaces one at most. */
async function replaceNext(
  { store, moves, queue, clock }: ReplicaDeps,
  due: readonly DueReplacement[],
  { all, wanted, needed }: Rollout,
): Promise<void> {
  const [next] = due;
  if (next === undefined) return;
  const desired = all.filter((one) => one.desiredInstances === 1);
  const serving = desired.filter(isServing).length;
  const others = desired.filter((one) => !isServing(one));
  // Of a definition that has run, whatever failed: one more has no place. Of a newer one, only that says that it may be well.
  const hasNoPlace = due.every(({ isOld }) => !isOld) || others.every(({ fault }) => fault?.code === "NO_CAPACITY");
  const isWithoutSurge = hasNoPlace && serving >= needed && others.every(({ state }) => state === "ERROR");
  if (desired.length < wanted || !(isWithoutSurge || serving === desired.length)) return;
  const { row, isOld } = next;
  const patch = isOld ? redefinitionPatch(clock.now()) : restartPatch(clock.now());
  const moved = await moves.container(row, isOld ? "redefined" : "expired", patch);
  if (moved) store.afterCommit(() => queue.add(containerKey(moved.id), placeOfRow(moved)));
}

/** Its open exchanges end first, as when fewer are needed. */
async function removeSurplus(deps: ReplicaDeps, row: Container, one: Container): Promise<void> {
  if (one.desiredInstances === 0 && isStopped(one.state)) return deps.requests.remove(one.id);
  await stopReplica(deps, row, one.id);
}

/** A plain container: it runs while it is desired to, whatever its traffic. */
function replicaConfig(config: ContainerConfig): ContainerConfig {
  const plain: ContainerConfig = { ...config, onDemand: false };
  for (const key of ["replicas", "shutdownTimeoutMinutes", "keepWarm", "dependsOn", "maxConcurrency"] as const) delete plain[key];
  return plain;
}

function definitionOf(row: Container, replica: number) {
  const { packageId, imageId, folder, friendlyName, generation, env } = row;
  return { packageId, imageId, folder, friendlyName, generation, env, name: `${row.name}-replica-${replica}`, config: replicaConfig(row.config) };
}

function hasOtherDefinition({ generation, imageId, packageId, friendlyName, name, replica }: Container, row: Container): boolean {
  const isOther = generation !== row.generation || imageId !== row.imageId || packageId !== row.packageId;
  return isOther || replica === undefined || friendlyName !== row.friendlyName || name !== definitionOf(row, replica).name;
}

async function redefineReplica({ store, requests }: ReplicaDeps, one: Container, row: Container): Promise<void> {
  await store.transaction(async () => {
    if (one.replica === undefined) return;
    await store.containers.update(one.id, { ...definitionOf(row, one.replica), attempts: 0, notBefore: 0 });
    await requests.definitionChanged(one.id);
  });
}

/** Of all replicas, with the container itself; 0: none is to run. */
async function wantedReplicas(deps: ReplicaDeps, row: Container, config: ReplicasConfig, others: readonly Container[]): Promise<number> {
  const { replicas, loads, situationOf, limits } = deps;
  const desired = others.filter((one) => one.desiredInstances === 1).length + 1;
  if (row.desiredInstances === 0) {
    loads.forget(row.id);
    return 0;
  }
  // Without an address there is nothing that a request could choose between.
  if (hasOneReplica(row) || (row.state === "STARTED" && row.addresses.length === 0)) return 1;
  const set = replicas.of(row.id);
  const serving = set === undefined ? 0 : servingReplicas(row, set).length;
  const ready = serving + (row.state === "STARTED" ? 1 : 0);
  if (row.state !== "STARTED") {
    // It cannot find by itself that it is idle.
    const idleMs = idleInMs(await situationOf(row, "unknown"), limits);
    if (idleMs !== undefined && idleMs <= 0) return 1;
    // A start that is in progress, and may fail: more would fail with it.
    if (serving === 0) return Math.min(desired, config.max);
  }
  const needed = neededFor(deps, row, config, { ready, desired });
  if (row.state === "STARTED") return needed;
  // Others serve in its place until it is back; where it has failed, at least one.
  return Math.min(config.max, Math.max(needed, row.state === "ERROR" ? 2 : desired));
}

/** By the load alone. */
function neededFor(
  { loads, clock, limits }: Pick<ReplicaDeps, "loads" | "clock" | "limits">,
  row: Container,
  config: ReplicasConfig,
  counts: { ready: number; desired: number },
): number {
  const least = Math.min(config.max, Math.max(1, config.min));
  const { wanted } = loads.need(row.id, config, counts);
  const bounded = Math.min(config.max, Math.max(least, wanted));
  // One of them works after its response was sent; which one is not known.
  return busyMs(row, clock.now(), limits) > 0 ? Math.max(bounded, Math.min(counts.desired, config.max)) : bounded;
}

/** Returns when one that is not needed any more, but has reported that it is busy, is to be looked at again. */
async function setDesired(deps: ReplicaDeps, row: Container, others: readonly Container[], wanted: number): Promise<number | undefined> {
  const { usage, clock, limits } = deps;
  const desired = others.filter((one) => one.desiredInstances === 1);
  const numberOf = ({ replica = 0 }: Container) => replica;
  if (row.desiredInstances === 0 && row.stopFor === "user")
    for (const one of others) if (one.desiredInstances === 0 && one.state === "PENDING_SYSTEM_STOP") await stopReplica(deps, row, one.id);
  if (desired.length > wanted) {
    const openAt = ({ id }: Container) => usage.open(id) + usage.sockets(id);
    const servesNow = ({ state }: Container) => (state === "STARTED" ? 1 : 0);
    const busyFor = (one: Container) => (row.desiredInstances === 0 ? 0 : busyMs(one, clock.now(), limits));
    const isCurrent = ({ runningGeneration }: Container) => (runningGeneration === row.generation ? 1 : 0);
    const victims = desired
      .filter((one) => busyFor(one) === 0)
      .toSorted(
        (one, other) =>
          servesNow(one) - servesNow(other) || isCurrent(one) - isCurrent(other) || openAt(one) - openAt(other) || numberOf(other) - numberOf(one),
      );
    for (const one of victims.slice(0, desired.length - wanted)) await stopReplica(deps, row, one.id);
    if (victims.length >= desired.length - wanted) return undefined;
    return Math.max(TICK_MS, Math.min(...desired.map(busyFor).filter((ms) => ms > 0)));
  }
  const missing = wanted - desired.length;
  const spare = others.filter((one) => one.desiredInstances === 0);
  const byNumber = spare.toSorted((one, other) => numberOf(one) - numberOf(other));
  const chosen = byNumber.filter(({ state }) => isStopped(state)).slice(0, missing);
  // What still stops can start only after that, which may take a minute: a new one starts at once.
  const taken = new Set(others.map(numberOf));
  const max = row.config.replicas?.max ?? 1;
  for (let number = 2; number <= max && chosen.length < missing; number++)
    if (!taken.has(number)) chosen.push(await insertReplica(deps, row, number));
  chosen.push(...byNumber.filter(({ state }) => !isStopped(state)).slice(0, missing - chosen.length));
  for (const one of chosen) await startReplica(deps, row, one.id);
  return undefined;
}

function insertReplica({ store, changes, environment, clock }: ReplicaDeps, row: Container, replica: number): Promise<Container> {
  return store.transaction(async () => {
    const id = randomUUID();
    const now = clock.now();
    const definition = definitionOf(row, replica);
    const inserted = await store.containers.insert({
      ...newContainer(environment, id, row.name, definition.config, now),
      ...definition,
      service: serviceName(environment, definition.name, id),
      state: "SYSTEM_STOPPED",
      stopFor: "system",
      replicaOf: row.id,
      replica,
      updatedOn: now,
    });
    changes.publish(inserted);
    return inserted;
  });
}

/** With a token of the same user as the container itself. */
async function startReplica({ store, requests, capacity, queue }: ReplicaDeps, { id: owner }: Container, id: string): Promise<void> {
  await store.transaction(async () => {
    const row = await store.containers.find(owner);
    if (row === undefined || row.desiredInstances === 0) return;
    // Another container may have taken its place since then.
    if (!(await hasPlace({ store, capacity }, row))) return queue.addAfter(replicasKey(owner), TICK_MS);
    const ref = {
      ...(row.requestedKey === undefined ? {} : { key: row.requestedKey }),
      ...(row.requestedSession === undefined ? {} : { session: row.requestedSession }),
    };
    await requests.requestStart(id, row.requestedBy, "scaleOut", ref);
  });
}

/** It gets no new requests from now on, and stops once its open ones have ended; where a user stops the container, as soon as the container itself. */
async function stopReplica(
  { store, moves, inFlight, queue }: ReplicaDeps,
  { stopFor: reason, desiredInstances }: Container,
  id: string,
): Promise<void> {
  const stopFor = desiredInstances === 0 && reason === "user" ? "user" : "system";
  await store.transaction(async () => {
    const now = await store.containers.find(id);
    if (now === undefined) return;
    // One that drains ends sooner for a user, who waits for it.
    const isHurried = stopFor === "user" && now.state === "PENDING_SYSTEM_STOP" && now.stopFor === "system";
    if (now.desiredInstances === 0 && !isHurried) return;
    const patch = { desiredInstances: 0, stopFor } as const;
    const event = now.state === "STARTED" && stopFor === "system" ? "idled" : "stopWished";
    const moved = await moves.container(now, event, patch, { isCurrent: true });
    if (moved === undefined) await moves.update(id, patch);
    else if (isStarting(now.state)) store.afterCommit(() => inFlight.abort(containerKey(id), new Error("fewer replicas are needed")));
    store.afterCommit(() => queue.add(containerKey(id)));
  });
}

/**
 * A replica whose start failed is tried again after back-off, for as long as another serves; so is the container itself, which no request wakes then. A failed
 * one holds nothing: a further replica waits until it has a place again, but not the one whose start shows whether a newer definition runs. Returns when the
 * next one is due.
 */
async function retryFailed(
  { store, capacity, moves, queue, replicas, clock }: ReplicaDeps,
  row: Container,
  others: readonly Container[],
  { isRollout }: { isRollout: boolean },
): Promise<number | undefined> {
  const set = replicas.of(row.id);
  const isServing = row.state === "STARTED" || (set !== undefined && servingReplicas(row, set).length > 0);
  if (!isServing) return undefined;
  let nextMs: number | undefined;
  for (const one of [row, ...others]) {
    if (one.state !== "ERROR" || one.desiredInstances === 0) continue;
    const waitMs = one.notBefore - clock.now();
    if (waitMs > 0) nextMs = Math.min(nextMs ?? Infinity, waitMs);
    else if (one !== row && !isRollout && !(await hasPlace({ store, capacity }, one))) nextMs = Math.min(nextMs ?? Infinity, PLACE_RETRY_MS);
    else if (await moves.container(one, "startWished", { fault: undefined, requestedOn: clock.now() }))
      store.afterCommit(() => queue.add(containerKey(one.id)));
  }
  return nextMs;
}
