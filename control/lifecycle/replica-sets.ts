import type { Container, ReplicasConfig } from "../model/entities.ts";
import type { ContainerState } from "../model/states.ts";
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

/** States in which a container is to run, so that its other replicas may serve while it does not. */
const TO_RUN: ReadonlySet<ContainerState> = new Set(["STARTED", "CHECKING", "PENDING_START", "STARTING", "ERROR"]);

/** The further replicas that serve: of the definition that the container itself runs, or is about to run. */
export function servingReplicas(
  { state, desiredInstances, generation, runningGeneration }: Pick<Container, "state" | "desiredInstances" | "generation" | "runningGeneration">,
  { others }: ReplicaSet,
): Container[] {
  if (desiredInstances === 0 || !TO_RUN.has(state)) return [];
  const current = state === "STARTED" || state === "CHECKING" ? (runningGeneration ?? generation) : generation;
  return [...others.values()].filter(
    (one) => one.state === "STARTED" && one.desiredInstances === 1 && one.addresses.length > 0 && one.runningGeneration === current,
  );
}

/** A container is busy for as long as one of its replicas is. */
export function withReplicasBusy(row: Container, set: ReplicaSet | undefined): Container {
  if (set === undefined) return row;
  const busyUntil = Math.max(row.busyUntil, ...[...set.others.values()].map((one) => one.busyUntil));
  return busyUntil === row.busyUntil ? row : { ...row, busyUntil };
}

/** How many replicas serve, and how many are to run; 0: the container is stopped. `says`: the same, and why, for users. */
export type ReplicaStatus = { ready: number; wanted: number; min: number; max: number; says: string };

/** `isSupported`: the driver can. */
export function replicaStatusOf(set: ReplicaSet, need: ReplicaNeed | undefined, isSupported: boolean): ReplicaStatus | undefined {
  const { container, others } = set;
  const config = container.config.replicas;
  if (config === undefined) return undefined;
  const ready = servingReplicas(container, set).length + (container.state === "STARTED" && container.addresses.length > 0 ? 1 : 0);
  const wanted = container.desiredInstances === 0 ? 0 : 1 + [...others.values()].filter((one) => one.desiredInstances === 1).length;
  const reason = isSupported ? reasonOf(set, config, { wanted, need }) : "The driver of this server runs one instance of each container.";
  return { ready, wanted, min: Math.max(1, config.min), max: config.max, says: `${ready} of ${wanted} replicas ready. ${reason}` };
}

function reasonOf(
  { container, others }: ReplicaSet,
  config: ReplicasConfig,
  { wanted, need }: { wanted: number; need: ReplicaNeed | undefined },
): string {
  if (wanted === 0) return "The container is stopped, and with it all its replicas.";
  const failed = [...others.values()].find((one) => one.desiredInstances === 1 && one.fault !== undefined);
  const failure = failed?.fault === undefined ? "" : ` Replica ${failed.replica} is tried again: ${failed.fault.message}`;
  if (container.deployed?.worker) return "It is a queue worker: it has one replica.";
  if (container.tcpPort !== undefined) return "It has a TCP listener: it has one replica, because berth distributes HTTP requests only.";
  if (need === undefined) return `The number of requests is not known yet.${failure}`;
  const average = Math.round(need.average * 10) / 10;
  const load = `${average} requests and WebSockets were open on average over ${config.windowSeconds} s; each replica is to have ${config.targetConcurrency}.`;
  const burst = need.isBurst ? " Their number has at least doubled within a tenth of that time, so that shorter time counts." : "";
  const held =
    wanted > need.now && wanted > Math.max(1, config.min)
      ? ` ${need.now} would be enough now: the others stop once that was so for ${config.windowSeconds} s.`
      : "";
  const least = wanted === config.min && need.now < config.min ? " container.json has at least so many." : "";
  const limit = wanted === config.max && need.now >= config.max ? " That is the largest number that container.json allows." : "";
  return `${load}${burst}${least}${held}${limit}${failure}`;
}
