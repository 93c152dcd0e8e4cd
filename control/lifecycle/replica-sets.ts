import type { Container, ReplicasConfig } from "../model/entities.ts";
import { type ContainerState, isStopped } from "../model/states.ts";
import type { ReplicaNeed } from "./replica-loads.ts";

/**
 * The containers with `replicas`, and their further replicas, as they were published last. Each further replica is a row of its own, so that it starts, is
 * checked and stops as every container does; gateways and users see the container alone.
 */
export type ReplicaSets = {
  /** Returns the container that gateways see: the row itself, or the one of which it is a replica; undefined: that one is gone. */
  record(row: Container): Container | undefined;
  /** Returns the container of which it was a replica. */
  removed(id: string): Container | undefined;
  /** Undefined: it has no `replicas`. */
  of(id: string): ReplicaSet | undefined;
  all(): ReplicaSet[];
};

export type ReplicaSet = { container: Container; others: ReadonlyMap<string, Container> };

export function createReplicaSets(changed: (id: string) => void): ReplicaSets {
  const sets = new Map<string, { container: Container | undefined; others: Map<string, Container> }>();
  const ownerOf = new Map<string, string>();
  const setOf = (id: string) => {
    const existing = sets.get(id);
    if (existing !== undefined) return existing;
    const set = { container: undefined, others: new Map<string, Container>() };
    sets.set(id, set);
    return set;
  };
  const isWhole = (set: { container: Container | undefined; others: Map<string, Container> }): set is ReplicaSet & typeof set =>
    set.container !== undefined;

  return {
    record: (row) => {
      const id = row.replicaOf ?? row.id;
      if (row.replicaOf === undefined && row.config.replicas === undefined && !sets.has(id)) return row;
      const set = setOf(id);
      if (row.replicaOf === undefined) set.container = row;
      else {
        ownerOf.set(row.id, id);
        set.others.set(row.id, row);
      }
      changed(id);
      return set.container;
    },
    removed: (id) => {
      const owner = ownerOf.get(id);
      ownerOf.delete(id);
      if (owner === undefined) return void sets.delete(id);
      const set = sets.get(owner);
      set?.others.delete(id);
      return set?.container;
    },
    of: (id) => {
      const set = sets.get(id);
      return set !== undefined && isWhole(set) ? set : undefined;
    },
    all: () => [...sets.values()].filter(isWhole),
  };
}

/** Requests may be sent to it. */
export function isServing({ state, desiredInstances, addresses }: Pick<Container, "state" | "desiredInstances" | "addresses">): boolean {
  return state === "STARTED" && desiredInstances === 1 && addresses.length > 0;
}

/** The further replicas that serve, of whatever definition: while they are replaced one after another, some are older. */
export function servingReplicas({ desiredInstances }: Pick<Container, "desiredInstances">, { others }: ReplicaSet): Container[] {
  return desiredInstances === 0 ? [] : [...others.values()].filter(isServing);
}

/** Replicas of a server for TCP, or of a queue worker, would each have a state of their own: clients would reach any of them. */
export function hasOneReplica({ config, deployed, tcpPort }: Pick<Container, "config" | "deployed" | "tcpPort">): boolean {
  return (config.replicas?.max ?? 1) === 1 || deployed?.worker !== undefined || tcpPort !== undefined;
}

/** Replicas are replaced one after another: `adjustReplicas` decides whose turn it is. `othersServe`: requests go to others while it restarts. */
export type ReplacementTurns = { othersServe: boolean };

/** Of one of several replicas; undefined: it is replaced without regard to others. */
export function turnsOf(sets: Pick<ReplicaSets, "of">, row: Container, isSupported: boolean): ReplacementTurns | undefined {
  const set = sets.of(row.replicaOf ?? row.id);
  if (set === undefined || !isSupported || hasOneReplica(row.replicaOf === undefined ? row : set.container)) return undefined;
  const others = [set.container, ...set.others.values()].filter(({ id }) => id !== row.id);
  const isPortless = row.state === "STARTED" && row.addresses.length === 0;
  return isPortless ? undefined : { othersServe: others.some(isServing) };
}

/** A container is busy for as long as one of its replicas is. */
export function withReplicasBusy<Row extends Pick<Container, "busyUntil">>(row: Row, set: ReplicaSet | undefined): Row {
  if (set === undefined) return row;
  const busyUntil = Math.max(row.busyUntil, ...[...set.others.values()].map((one) => one.busyUntil));
  return busyUntil === row.busyUntil ? row : { ...row, busyUntil };
}

/** How many replicas serve, and how many are to run; 0: the container is stopped. `says`: the same, and why, for users. `each`: by their numbers. */
export type ReplicaStatus = { ready: number; wanted: number; min: number; max: number; says: string; each: readonly SingleReplica[] };

/** `fault`: why it failed, or could not be stopped. */
export type SingleReplica = { replica: number; state: ContainerState; desiredInstances: 0 | 1; fault: string | undefined };

/** All replicas of a container that is to be stopped have stopped, or one could not be. */
export function areStopped({ container, others }: ReplicaSet): boolean {
  if (container.desiredInstances === 1) return true;
  return [...others.values()].every(({ state, desiredInstances }) => desiredInstances === 0 && (isStopped(state) || state === "ERROR"));
}

type ReplicaBounds = {
  need: ReplicaNeed | undefined;
  /** Further replicas of all containers, where this one needs more than it may have. */
  most: number | undefined;
  /** It needs more than the limits of all containers have a place for. */
  isWithoutPlace: boolean;
};

/** `isSupported`: the driver can. */
export function replicaStatusOf(set: ReplicaSet, { isSupported, ...bounds }: ReplicaBounds & { isSupported: boolean }): ReplicaStatus | undefined {
  const { container, others } = set;
  const config = container.config.replicas;
  if (config === undefined) return undefined;
  const ready = servingReplicas(container, set).length + (container.state === "STARTED" && container.addresses.length > 0 ? 1 : 0);
  const wanted = container.desiredInstances === 0 ? 0 : 1 + [...others.values()].filter((one) => one.desiredInstances === 1).length;
  const reason = isSupported ? reasonOf(set, config, { wanted, ...bounds }) : "The driver of this server runs one instance of each container.";
  const each = [container, ...others.values()]
    .map(({ replica = 1, state, desiredInstances, fault }) => ({ replica, state, desiredInstances, fault: fault?.message }))
    .toSorted((one, other) => one.replica - other.replica);
  return { ready, wanted, min: Math.max(1, config.min), max: config.max, says: `${ready} of ${wanted} replicas ready. ${reason}`, each };
}

function reasonOf(
  { container, others }: ReplicaSet,
  config: ReplicasConfig,
  { wanted, need, most, isWithoutPlace }: ReplicaBounds & { wanted: number },
): string {
  if (wanted === 0) return stopSentence(others);
  const failed = [...others.values()].find((one) => one.desiredInstances === 1 && one.fault !== undefined);
  const failure = failed?.fault === undefined ? "" : ` Replica ${failed.replica} is tried again: ${failed.fault.message}`;
  if (container.deployed?.worker) return "It is a queue worker: it has one replica.";
  if (container.tcpPort !== undefined) return "It has a TCP listener: it has one replica, because berth distributes HTTP requests only.";
  const place = isWithoutPlace ? " It needs more, and starts them once the limits of BERTH_CAPACITY_… have a place." : "";
  if (need === undefined) return `The number of requests is not known yet.${place}${failure}`;
  const average = Math.round(need.average * 10) / 10;
  const load = `${average} requests and WebSockets were open on average over ${config.windowSeconds} s; each replica is to have ${config.targetConcurrency}.`;
  const burst = need.isBurst ? " Their number has at least doubled within a tenth of that time, so that shorter time counts." : "";
  const held =
    wanted > need.now && wanted > Math.max(1, config.min)
      ? ` ${need.now} would be enough now: the others stop once that was so for ${config.windowSeconds} s.`
      : "";
  const least = wanted === config.min && need.now < config.min ? " container.json has at least so many." : "";
  const limit = wanted === config.max && need.now >= config.max ? " That is the largest number that container.json allows." : "";
  const bound =
    most === undefined ? "" : ` It needs more, but all containers of this server have ${most} further replicas at most (BERTH_CAPACITY_REPLICAS).`;
  return `${load}${burst}${least}${held}${limit}${bound}${place}${rolloutSentence(container, others)}${failure}`;
}

function stopSentence(others: ReplicaSet["others"]): string {
  const left = [...others.values()].filter(({ state }) => !isStopped(state));
  if (left.length === 0) return "The container is stopped, and with it all its replicas.";
  const failed = left.find(({ state, fault }) => state === "ERROR" && fault !== undefined);
  if (failed !== undefined) return `The container is stopped. Replica ${failed.replica} could not be stopped: ${failed.fault?.message}`;
  const numbers = left.map(({ replica }) => replica).join(", ");
  return `The container is stopped. ${left.length === 1 ? "Replica" : "Replicas"} ${numbers} still ${left.length === 1 ? "stops" : "stop"}.`;
}

function rolloutSentence(container: Container, others: ReplicaSet["others"]): string {
  const running = [container, ...others.values()].filter(isServing);
  const old = running.filter(({ runningGeneration }) => runningGeneration !== container.generation).length;
  return old === 0 ? "" : ` ${old} of ${running.length} run the definition before, and are replaced one after another.`;
}
