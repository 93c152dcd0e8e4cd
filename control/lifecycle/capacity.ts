import type { Clock } from "../../lib/clock.ts";
import { Fault } from "../../lib/fault.ts";
import type { Metrics } from "../../lib/metrics/open-metrics.ts";
import type { Container } from "../model/entities.ts";
import { isAlwaysOn } from "../model/lifetime.ts";
import type { HoldingContainer } from "../store/containers.ts";
import type { Store } from "../store/open-store.ts";
import { busyMs, enteredOn, warmMs } from "./decide.ts";
import type { Dependencies } from "./dependencies.ts";
import type { LifecycleLimits } from "./limits.ts";
import type { Moves } from "./moves.ts";
import { type ReplicaSets, withReplicasBusy } from "./replica-sets.ts";
import type { ContainerUsage } from "./usage.ts";
import { containerKey, type WorkQueue } from "./work-queue.ts";

const RESOURCES = ["containers", "cpu", "memoryMb"] as const;
type Resource = (typeof RESOURCES)[number];
/** Cores, and MiB: what container.json reserves. Undefined: without a limit. */
type Amounts = { readonly [resource in Resource]?: number | undefined };

/** Undefined: any number. */
export type CapacityLimits = {
  /** What the containers that one user has started may hold together. */
  ofUser: Amounts;
  /** The same of all users, with further replicas. */
  ofAll: Amounts;
  /** Further replicas of all containers. */
  replicas?: number | undefined;
};

export const ANY_CAPACITY: CapacityLimits = { ofUser: {}, ofAll: {} };

export type CapacityDeps = {
  store: Pick<Store, "containers" | "afterCommit">;
  moves: Pick<Moves, "container">;
  queue: Pick<WorkQueue, "add">;
  dependencies: Pick<Dependencies, "dependentsOf">;
  usage: Pick<ContainerUsage, "open" | "sockets" | "lastActive" | "uncertainUntil">;
  replicas: Pick<ReplicaSets, "of">;
  clock: Pick<Clock, "now">;
  epoch(): number;
  capacity: CapacityLimits;
  capacityCounts: Pick<Metrics, "capacityRefusals" | "capacityStops">;
  limits: Pick<LifecycleLimits, "busyMs">;
};

/** A container that was used so recently is not stopped for another: two users who take turns would restart both at each request. */
const SHORTEST_IDLE_MS = 30_000;
const RETRY_AFTER_MS = 30_000;

const WORDS: Record<Resource, { unit: string; ofUser: string; ofAll: string }> = {
  containers: { unit: "containers", ofUser: "BERTH_CAPACITY_USER_CONTAINERS", ofAll: "BERTH_CAPACITY_CONTAINERS" },
  cpu: { unit: "cores", ofUser: "BERTH_CAPACITY_USER_CPU", ofAll: "BERTH_CAPACITY_CPU" },
  memoryMb: { unit: "MB of memory", ofUser: "BERTH_CAPACITY_USER_MEMORY_MB", ofAll: "BERTH_CAPACITY_MEMORY_MB" },
};

/**
 * Lets a user start a container, or refuses it. Where a limit is met, containers that are idle are stopped first: the user's own, or those of the users who hold
 * most. To be called in the transaction that requests the start. One that holds its share already is not refused: a restart calls it before the stop. `userId`:
 * undefined for a TCP connection. Faults: USER_CAPACITY_FULL, SERVER_CAPACITY_FULL.
 */
export async function admitStart(deps: CapacityDeps, row: Container, userId: string | undefined): Promise<void> {
  const { capacity, capacityCounts } = deps;
  const isHeld = row.desiredInstances === 1 && row.state !== "ERROR";
  if (isHeld || (!isLimited(capacity.ofUser) && !isLimited(capacity.ofAll))) return;
  let held = (await deps.store.containers.holding()).filter(({ id, replicaOf }) => id !== row.id && replicaOf !== row.id);
  const victims = new Set<string>();
  const search = { ...deps, starting: row, victims };
  const makePlace = (victim: HoldingContainer | undefined): boolean => {
    if (victim === undefined) return false;
    victims.add(victim.id);
    held = held.filter(({ id, replicaOf }) => id !== victim.id && replicaOf !== victim.id);
    return true;
  };
  if (userId !== undefined) {
    const own = () => held.filter((one) => holderOf(one) === userId);
    for (let met = limitMet(capacity.ofUser, own(), row); met !== undefined; met = limitMet(capacity.ofUser, own(), row)) {
      if (met.need <= met.limit && makePlace(await leastRecentlyUsed(search, own()))) continue;
      capacityCounts.capacityRefusals.at("user").add();
      throw userFault(row, met, own());
    }
  }
  for (let met = limitMet(capacity.ofAll, held, row); met !== undefined; met = limitMet(capacity.ofAll, held, row)) {
    if (met.need <= met.limit && makePlace(await idleOfLargestHolder(search, held, capacity.ofAll))) continue;
    capacityCounts.capacityRefusals.at("server").add();
    throw serverFault(row, met);
  }
  for (const id of victims) await stopForCapacity(deps, id);
}

/** How soon a start that berth itself makes, and that had no place, is tried again. */
export const PLACE_RETRY_MS = 30_000;

/**
 * Whether all containers of the server leave a place for a start that berth itself makes, of one that sleeps. For such a start no idle container is stopped: its
 * user may come back, while no one waits for this one.
 */
export async function hasPlace({ store, capacity }: Pick<CapacityDeps, "store" | "capacity">, row: Container): Promise<boolean> {
  return (await placesFor({ store, capacity }, row, 1)) === 1;
}

/** The same of several such containers: how many of `most` have a place. */
export async function placesFor({ store, capacity }: Pick<CapacityDeps, "store" | "capacity">, row: Container, most: number): Promise<number> {
  if (most <= 0 || !isLimited(capacity.ofAll)) return Math.max(0, most);
  const held = await store.containers.holding();
  const placesOf = (resource: Resource) => {
    const [limit, need] = [capacity.ofAll[resource], amountOf(row, resource)];
    return limit === undefined || need <= 0 ? most : Math.floor((limit - sumOf(held, resource) + SLACK) / need);
  };
  return Math.max(0, Math.min(most, ...RESOURCES.map(placesOf)));
}

function isLimited(limits: Amounts): boolean {
  return RESOURCES.some((one) => limits[one] !== undefined);
}

/** Whose share it counts to; undefined: berth itself runs it, or a TCP connection woke it. */
function holderOf({ requestedBy, requestedFor, replicaOf }: HoldingContainer): string | undefined {
  const isOfBerth = replicaOf !== undefined || requestedFor === "keepWarm" || requestedFor === "usualHours";
  return isOfBerth ? undefined : requestedBy;
}

function amountOf({ config }: Pick<Container, "config">, resource: Resource): number {
  return resource === "containers" ? 1 : config[resource];
}

function sumOf(rows: readonly Pick<Container, "config">[], resource: Resource): number {
  return rows.reduce((sum, row) => sum + amountOf(row, resource), 0);
}

type MetLimit = { resource: Resource; limit: number; need: number; held: number };

/** Sums of cores are not exact. */
const SLACK = 1e-6;

/** The first limit that would be exceeded. */
function limitMet(limits: Amounts, held: readonly HoldingContainer[], row: Container): MetLimit | undefined {
  for (const resource of RESOURCES) {
    const limit = limits[resource];
    if (limit === undefined) continue;
    const met = { resource, limit, need: amountOf(row, resource), held: sumOf(held, resource) };
    if (met.held + met.need > limit + SLACK) return met;
  }
  return undefined;
}

/** `victims`: the ids of those that are to be stopped for the one that is starting. */
type VictimSearch = CapacityDeps & { starting: Container; victims: ReadonlySet<string> };

/** An idle container of the user who holds the largest share of a limited resource, and has one; what berth itself runs is one holder's. */
async function idleOfLargestHolder(search: VictimSearch, held: readonly HoldingContainer[], limits: Amounts): Promise<HoldingContainer | undefined> {
  const shareOf = (rows: readonly HoldingContainer[]) =>
    Math.max(...RESOURCES.map((resource) => sumOf(rows, resource) / (limits[resource] ?? Infinity)));
  const shares = [...Map.groupBy(held, holderOf).values()].map((rows) => ({ rows, share: shareOf(rows) }));
  for (const { rows } of shares.toSorted((one, other) => other.share - one.share)) {
    const idle = await leastRecentlyUsed(search, rows);
    if (idle !== undefined) return idle;
  }
  return undefined;
}

/** Of those that are idle, and that a request starts again. */
async function leastRecentlyUsed(search: VictimSearch, rows: readonly HoldingContainer[]): Promise<HoldingContainer | undefined> {
  const { usage, clock, limits, dependencies, replicas, starting, victims } = search;
  const now = clock.now();
  if (usage.uncertainUntil() > now) return undefined;
  // What was in use before this process started is known once the gateways have reported.
  const epoch = search.epoch();
  const usedOn = (row: HoldingContainer) => Math.max(enteredOn(row, epoch), row.lastActive, usage.lastActive(row.id));
  const isNeededBy = ({ packageId, config }: Container, { folder, ...row }: HoldingContainer) =>
    packageId === row.packageId && config.dependsOn?.includes(folder) === true;
  const isIdle = (row: HoldingContainer) =>
    row.state === "STARTED" &&
    row.replicaOf === undefined &&
    !isAlwaysOn(row.config) &&
    // Without a port it gets no requests: whether it works is not known, and no request starts it again.
    row.addresses.length > 0 &&
    row.deployed?.worker === undefined &&
    usage.open(row.id) + usage.sockets(row.id) === 0 &&
    now - usedOn(row) >= SHORTEST_IDLE_MS &&
    busyMs(withReplicasBusy(row, replicas.of(row.id)), now, limits) === 0 &&
    warmMs(row, now) === 0 &&
    !isNeededBy(starting, row);
  for (const row of rows.filter(isIdle).toSorted((one, other) => usedOn(one) - usedOn(other)))
    if ((await dependencies.dependentsOf(row, victims)).length === 0) return row;
  return undefined;
}

async function stopForCapacity({ store, moves, queue, capacityCounts }: CapacityDeps, id: string): Promise<void> {
  const row = await store.containers.find(id);
  if (row === undefined || !(await moves.container(row, "displaced", { desiredInstances: 0, stopFor: "system" }, { isCurrent: true }))) return;
  capacityCounts.capacityStops.at().add();
  store.afterCommit(() => queue.add(containerKey(id)));
}

const rounded = (amount: number) => Math.round(amount * 100) / 100;

function describe({ resource, limit, held, need }: MetLimit): string {
  const { unit } = WORDS[resource];
  if (resource === "containers") return `${held} of ${limit} ${unit}`;
  return `${rounded(held)} of ${rounded(limit)} ${unit}, and this one needs ${rounded(need)}`;
}

/** Nothing that stops would make place for it. */
function excessSentence({ name }: Container, { resource, limit, need }: MetLimit, setting: string): string {
  const { unit } = WORDS[resource];
  const amounts = `it needs ${rounded(need)} ${unit}, and ${setting} allows ${rounded(limit)}`;
  return `${name} is not started: ${amounts}. Request less in its container.json, or ask an administrator for a higher limit.`;
}

function userFault(row: Container, met: MetLimit, own: readonly HoldingContainer[]): Fault {
  const setting = WORDS[met.resource].ofUser;
  if (met.need > met.limit) return new Fault("USER_CAPACITY_FULL", excessSentence(row, met, setting));
  const names = own.slice(0, 5).map((one) => one.name);
  const list =
    names.length === 0 ? "" : ` Stop one (${names.join(", ")}${own.length > names.length ? " and others" : ""}), or wait until one is idle.`;
  const sentence = `${row.name} is not started: your containers hold ${describe(met)} (${setting}).${list}`;
  return new Fault("USER_CAPACITY_FULL", sentence, { retryAfterMs: RETRY_AFTER_MS });
}

function serverFault(row: Container, met: MetLimit): Fault {
  const setting = WORDS[met.resource].ofAll;
  if (met.need > met.limit) return new Fault("SERVER_CAPACITY_FULL", excessSentence(row, met, setting));
  const sentence = `${row.name} is not started: the containers of this server hold ${describe(met)} (${setting}), and none is idle. Try again later.`;
  return new Fault("SERVER_CAPACITY_FULL", sentence, { retryAfterMs: RETRY_AFTER_MS });
}
