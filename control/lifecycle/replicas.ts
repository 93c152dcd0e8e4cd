import { randomUUID } from "node:crypto";
import type { Driver } from "../../drivers/driver.ts";
import type { Clock } from "../../lib/clock.ts";
import { type Container, type ContainerConfig, newContainer, type ReplicasConfig } from "../model/entities.ts";
import { serviceName } from "../model/names.ts";
import { isStarting } from "../model/states.ts";
import type { Store } from "../store/open-store.ts";
import type { Changes } from "./changes.ts";
import { busyMs, idleInMs, type ReadSituation } from "./decide.ts";
import type { LifecycleRequests } from "./desired-state.ts";
import type { InFlightOperations } from "./engine.ts";
import type { LifecycleLimits } from "./limits.ts";
import type { Moves } from "./moves.ts";
import type { ReplicaLoads } from "./replica-loads.ts";
import { type ReplicaSets, servingReplicas } from "./replica-sets.ts";
import { containerKey, replicasKey, type WorkQueue } from "./work-queue.ts";

export type ReplicaDeps = {
  store: Pick<Store, "containers" | "transaction" | "afterCommit">;
  changes: Pick<Changes, "publish">;
  moves: Pick<Moves, "container" | "update">;
  queue: Pick<WorkQueue, "add" | "addAfter">;
  inFlight: Pick<InFlightOperations, "abort">;
  requests: Pick<LifecycleRequests, "requestStart" | "definitionChanged" | "remove">;
  replicas: ReplicaSets;
  loads: ReplicaLoads;
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
  const [row, others] = await Promise.all([store.containers.find(id), store.containers.replicasOf(id)]);
  const config = row?.config.replicas;
  const max = config?.max ?? 1;
  for (const one of others) {
    if (row === undefined) await requests.remove(one.id);
    else if ((one.replica ?? 0) > max) await removeSurplus(deps, row, one);
  }
  if (row === undefined || config === undefined || max === 1) return deps.loads.forget(id);
  const kept = others.filter((one) => (one.replica ?? 0) <= max);
  for (const one of kept) if (isOutdated(one, row)) await redefineReplica(deps, one, row);
  const needed = await wantedReplicas(deps, row, config, kept);
  // A driver that is still to be chosen can nothing yet: what runs goes on.
  const wanted = driver.replicas !== undefined ? needed : Math.min(needed, 1 + kept.filter((one) => one.desiredInstances === 1).length);
  const busyForMs = await setDesired(deps, row, kept, Math.max(0, wanted - 1));
  if (busyForMs !== undefined) queue.addAfter(replicasKey(id), busyForMs);
  const retryMs = await retryFailed(deps, row, kept);
  if (retryMs !== undefined) queue.addAfter(replicasKey(id), Math.max(1, retryMs));
  if (row.desiredInstances === 1 && (wanted > Math.max(1, config.min) || deps.loads.isUsed(id))) queue.addAfter(replicasKey(id), TICK_MS);
}

/** Its open exchanges end first, as when fewer are needed. */
async function removeSurplus(deps: ReplicaDeps, row: Container, one: Container): Promise<void> {
  if (one.desiredInstances === 0 && one.state.endsWith("_STOPPED")) return deps.requests.remove(one.id);
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

function isOutdated({ generation, imageId, packageId, replica }: Container, row: Container): boolean {
  return generation !== row.generation || imageId !== row.imageId || packageId !== row.packageId || replica === undefined;
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
  const { replicas, loads, situationOf, limits, clock } = deps;
  const desired = others.filter((one) => one.desiredInstances === 1).length + 1;
  if (row.desiredInstances === 0) {
    loads.forget(row.id);
    return 0;
  }
  // Without an address there is nothing that a request could choose between.
  if (row.deployed?.worker || row.tcpPort !== undefined || (row.state === "STARTED" && row.addresses.length === 0)) return 1;
  const set = replicas.of(row.id);
  const serving = set === undefined ? 0 : servingReplicas(row, set).length;
  const ready = serving + (row.state === "STARTED" ? 1 : 0);
  const least = Math.min(config.max, Math.max(1, config.min));
  if (row.state !== "STARTED") {
    // It cannot find by itself that it is idle.
    const idleMs = idleInMs(await situationOf(row, "unknown"), limits);
    if (idleMs !== undefined && idleMs <= 0) return 1;
    // A start that is in progress, and may fail: more would fail with it.
    if (serving === 0) return Math.min(desired, config.max);
  }
  const { wanted } = loads.need(row.id, config, { ready, desired });
  const bounded = Math.min(config.max, Math.max(least, wanted));
  // One of them works after its response was sent; which one is not known.
  return busyMs(row, clock.now(), limits) > 0 ? Math.max(bounded, Math.min(desired, config.max)) : bounded;
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
    const victims = desired
      .filter((one) => busyFor(one) === 0)
      .toSorted((one, other) => servesNow(one) - servesNow(other) || openAt(one) - openAt(other) || numberOf(other) - numberOf(one));
    for (const one of victims.slice(0, desired.length - wanted)) await stopReplica(deps, row, one.id);
    if (victims.length >= desired.length - wanted) return undefined;
    return Math.max(TICK_MS, Math.min(...desired.map(busyFor).filter((ms) => ms > 0)));
  }
  const missing = wanted - desired.length;
  const spare = others.filter((one) => one.desiredInstances === 0);
  const byNumber = spare.toSorted((one, other) => numberOf(one) - numberOf(other));
  const isStopped = ({ state }: Container) => state.endsWith("_STOPPED");
  const chosen = byNumber.filter(isStopped).slice(0, missing);
  // What still stops can start only after that, which may take a minute: a new one starts at once.
  const taken = new Set(others.map(numberOf));
  const max = row.config.replicas?.max ?? 1;
  for (let number = 2; number <= max && chosen.length < missing; number++)
    if (!taken.has(number)) chosen.push(await insertReplica(deps, row, number));
  chosen.push(...byNumber.filter((one) => !isStopped(one)).slice(0, missing - chosen.length));
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
async function startReplica({ store, requests }: ReplicaDeps, { id: owner }: Container, id: string): Promise<void> {
  await store.transaction(async () => {
    const row = await store.containers.find(owner);
    if (row === undefined || row.desiredInstances === 0) return;
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
 * A replica whose start failed is tried again after back-off, for as long as another serves; so is the container itself, which no request wakes then. Returns
 * when the next one is due.
 */
async function retryFailed(
  { store, moves, queue, replicas, clock }: ReplicaDeps,
  row: Container,
  others: readonly Container[],
): Promise<number | undefined> {
  const set = replicas.of(row.id);
  const isServing = row.state === "STARTED" || (set !== undefined && servingReplicas(row, set).length > 0);
  if (!isServing) return undefined;
  let nextMs: number | undefined;
  for (const one of [row, ...others]) {
    if (one.state !== "ERROR" || one.desiredInstances === 0) continue;
    const waitMs = one.notBefore - clock.now();
    if (waitMs > 0) nextMs = Math.min(nextMs ?? Infinity, waitMs);
    else if (await moves.container(one, "startWished", { fault: undefined, requestedOn: clock.now() }))
      store.afterCommit(() => queue.add(containerKey(one.id)));
  }
  return nextMs;
}
