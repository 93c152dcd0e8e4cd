import type { Availability, ContainerAddress, ContainerView } from "../../gateway/contract.ts";
import { Fault, type FaultData } from "../../lib/fault.ts";
import type { Container, Image } from "../model/entities.ts";
import { isExpiredStop, minutes } from "../model/lifetime.ts";
import { type ContainerState, isPassing } from "../model/states.ts";
import type { ContainerToView } from "../store/containers.ts";
import { areStopped, createReplicaSets, hasOneReplica, type ReplicaSets, servingReplicas } from "./replica-sets.ts";
import { isPulling } from "./start-progress.ts";
import type { StartStep } from "./start-steps.ts";
import type { Store } from "../store/open-store.ts";

/** One change of one container or image, numbered in the order in which changes happened; `removed` is a container's id. `replica`: the container is as it was; this replica of it changed. */
export type EntityChange = { seq: number } & ({ container: Container; replica?: Container } | { removed: string } | { image: Image });

export type Changes = {
  /** Calls all watchers. In a transaction that happens once it is durable, or not at all. So too for the next two. */
  publish(container: Container): void;
  publishRemoved(id: string): void;
  publishImage(image: Image): void;
  /** Its service is gone: the number of its removal is no longer needed. */
  forgetRemoved(id: string): void;
  /** The number of the newest change. */
  seq(): number;
  /** The number of this container's newest change; without one since this process started, that of its start. */
  seqOf(id: string): number;
  /** Calls `listener` at once with every change until the returned function is called. */
  watch(listener: (change: EntityChange) => void): () => void;
  /**
   * The container as soon as it neither changes by itself nor is about to; if it is to be stopped, with all its replicas. Faults: CONTAINER_NOT_FOUND; the
   * signal's reason.
   */
  settled(id: string, signal: AbortSignal): Promise<Container>;
};

/** `first` must be larger than any number that an earlier process gave, since gateways outlive control: epoch ms does. */
export function createChanges(
  { containers, afterCommit }: Pick<Store, "containers" | "afterCommit">,
  first: number,
  replicas: ReplicaSets = createReplicaSets(() => {}),
): Changes {
  const listeners = new Set<(change: EntityChange) => void>();
  const newestOf = new Map<string, number>();
  let seq = first;

  const notify = (change: EntityChange) => {
    for (const listener of listeners) listener(change);
  };
  const isSettledWhole = (row: Container) => {
    const set = replicas.of(row.id);
    return isSettled(row) && (row.desiredInstances === 1 || set === undefined || areStopped({ ...set, container: row }));
  };
  const watch: Changes["watch"] = (listener) => {
    listeners.add(listener);
    return () => listeners.delete(listener);
  };

  return {
    publish: (container) =>
      afterCommit(() => {
        newestOf.set(container.id, ++seq);
        const shown = replicas.record(container);
        if (shown === container) return notify({ seq, container });
        if (shown === undefined) return;
        newestOf.set(shown.id, seq);
        notify({ seq, container: shown, replica: container });
      }),
    publishRemoved: (id) =>
      afterCommit(() => {
        newestOf.set(id, ++seq);
        const shown = replicas.removed(id);
        notify(shown === undefined ? { seq, removed: id } : { seq, container: shown });
      }),
    forgetRemoved: (id) => void newestOf.delete(id),
    publishImage: (image) => afterCommit(() => notify({ seq: ++seq, image })),
    seq: () => seq,
    seqOf: (id) => newestOf.get(id) ?? first,
    watch,
    settled: async (id, signal) => {
      signal.throwIfAborted();
      const { promise, resolve, reject } = Promise.withResolvers<Container>();
      const onAbort = () => reject(signal.reason as Error);
      const notFound = () => reject(new Fault("CONTAINER_NOT_FOUND", `There is no container ${id}.`));
      // Watched before it is read, so that no change falls in between.
      const unwatch = watch((change) => {
        if ("removed" in change) {
          if (change.removed === id) notFound();
        } else if ("container" in change && change.container.id === id && isSettledWhole(change.container)) resolve(change.container);
      });
      signal.addEventListener("abort", onAbort, { once: true });
      const look = async () => {
        const row = await containers.find(id);
        if (!row) notFound();
        else if (isSettledWhole(row)) resolve(row);
      };
      look().catch(reject);
      try {
        return await promise;
      } finally {
        unwatch();
        signal.removeEventListener("abort", onAbort);
      }
    },
  };
}

function isSettled({ state, desiredInstances }: Container): boolean {
  // Stopped while it is desired to run: it is about to start.
  return !isPassing(state) && !(desiredInstances === 1 && (state === "USER_STOPPED" || state === "SYSTEM_STOPPED"));
}

const QUEUED: Availability = { kind: "coming", step: "queue" };
const CHECKED: Availability = { kind: "coming", step: "check" };
const STARTING = { kind: "coming", step: "start" } as const satisfies Availability;
const ASLEEP: Availability = { kind: "asleep" };

/** What a gateway may do with a container in each state. */
const AVAILABILITY: Record<ContainerState, (container: ContainerToView) => Availability> = {
  PENDING_START: () => QUEUED,
  STARTING: () => STARTING,
  STARTED: awake,
  CHECKING: () => CHECKED,
  PENDING_USER_STOP: stopped,
  PENDING_SYSTEM_STOP: stopped,
  STOPPING: stopped,
  USER_STOPPED: stopped,
  SYSTEM_STOPPED: stopped,
  ERROR: failed,
};

export function viewOf(container: ContainerToView): ContainerView {
  const { id, name, phases } = container;
  const reason = STOPPING.has(container.state) ? { stopReason: stopReasonOf(container) } : {};
  return { id, name, availability: AVAILABILITY[container.state](container), ...(phases ? { start: phases } : {}), ...reason };
}

const STOPPING: ReadonlySet<ContainerState> = new Set(["PENDING_USER_STOP", "PENDING_SYSTEM_STOP", "STOPPING"]);

/** For clients whose WebSockets end with it: at most 123 bytes. */
function stopReasonOf(row: ContainerToView): string {
  const { stopFor, desiredInstances, config } = row;
  if (stopFor === "user") return "A user stopped the container";
  if (isExpiredStop(row)) return `The container has run for ${minutes(config.maxMinutes)}, its max_minutes: connect again`;
  if (desiredInstances === 1) return "The container is replaced by a newer version: connect again";
  const idleMs = row.since - Math.max(row.runningSince ?? 0, row.lastActive);
  // Its own time has not passed: a limit of capacity was met.
  if (idleMs < (config.shutdownTimeoutMinutes ?? Infinity) * 60_000) return "The container was idle, and another one needs its place: connect again";
  return `The container had no traffic for ${minutes(config.shutdownTimeoutMinutes)}: connect again`;
}

function awake({ addresses, config, deployed }: ContainerToView): Availability {
  if (addresses.length === 0) return { kind: "portless" };
  const protocol = config.protocol === "h2c" ? { h2c: true as const } : {};
  return {
    kind: "awake",
    addresses: addresses.map(({ host, port }) => ({ host, port, ...protocol })),
    ...(deployed?.worker ? { worker: true } : {}),
  };
}

/** Stopped or about to be: a request wakes it where it is on-demand, even after a user's stop, or where it was stopped for idleness. */
function stopped(container: ContainerToView): Availability {
  if (container.desiredInstances === 1) return QUEUED;
  if (container.config.onDemand || container.stopFor === "system") return ASLEEP;
  const fault: FaultData = { code: "CONTAINER_STOPPED", message: `The container ${container.name} is not running; a user has to start it.` };
  return { kind: "stopped", fault };
}

function failed(container: ContainerToView): Availability {
  const fault = container.fault ?? { code: "INTERNAL", message: `The container ${container.name} failed.` };
  return { kind: "failed", fault, wakeable: container.config.onDemand, retryAt: container.notBefore };
}

export type ViewDeps = {
  replicas: Pick<ReplicaSets, "of">;
  watched: { current(): boolean };
  tcpPorts: { listenerOf(container: ContainerToView): ContainerAddress | undefined };
  /** What prevents connections to a container that starts. */
  steps: { noteOf(id: string): string | undefined; of(id: string): StartStep | undefined };
  /** How many gateway processes share the limits of containers. */
  gateways(): number;
  clock: { now(): number };
};

/** A container's view in the gateways' feed now. */
export function currentView(deps: ViewDeps, container: ContainerToView): ContainerView {
  const { watched, tcpPorts, steps, gateways, clock } = deps;
  const listener = tcpPorts.listenerOf(container);
  const view = { ...viewOf(container), ...(listener && { tcp: { port: listener.port } }) };
  const step = container.state === "STARTING" ? steps.of(container.id) : undefined;
  const note = step && steps.noteOf(container.id);
  // With a note, it is known to boot.
  if (step) view.availability = { ...STARTING, ...(note === undefined ? progressOf(step, clock.now()) : { note }) };
  const served = withReplicas(deps, container, view);
  const { maxConcurrency } = container.config;
  if (maxConcurrency !== undefined) {
    const count = served.replicas === undefined || served.availability.kind !== "awake" ? 1 : served.availability.addresses.length;
    // Each gateway counts its own.
    served.maxConcurrency = Math.max(1, Math.floor((maxConcurrency * count) / Math.max(1, gateways())));
  }
  return served.availability.kind !== "awake" || watched.current() ? served : { ...served, availability: CHECKED };
}

/** With the addresses of its other replicas, which serve also while the container itself is checked or started again. */
function withReplicas({ replicas }: Pick<ViewDeps, "replicas">, container: ContainerToView, view: ContainerView): ContainerView {
  const { replicas: config, protocol } = container.config;
  const set = config === undefined ? undefined : replicas.of(container.id);
  if (config === undefined || set === undefined || hasOneReplica(container)) return view;
  const own = view.availability.kind === "awake" ? view.availability.addresses.map((one) => ({ ...one, replica: 1 })) : [];
  const others = servingReplicas(container, set).flatMap(({ id, replica = 0, addresses }) =>
    addresses.map(({ host, port }) => ({ host, port, ...(protocol === "h2c" ? { h2c: true as const } : {}), replica, owner: id })),
  );
  const addresses = [...own, ...others];
  const availability = addresses.length === 0 ? view.availability : ({ kind: "awake", addresses } as const);
  const stopping = [...set.others.values()]
    .filter(({ state }) => STOPPING.has(state))
    .map((one) => ({ replica: one.replica ?? 0, reason: replicaStopReason(one) }));
  const affinity = config.affinity === undefined ? {} : { affinity: config.affinity };
  const { stopReason, ...rest } = view;
  // The container itself is replaced while others serve: only its own WebSockets end.
  if (stopReason !== undefined && others.length > 0) stopping.unshift({ replica: 1, reason: stopReason });
  const whole = others.length > 0 ? rest : view;
  return { ...whole, availability, replicas: { ...affinity, ...(stopping.length === 0 ? {} : { stopping }) } };
}

/** A further replica is never stopped for want of traffic: the container is, and all replicas with it. */
function replicaStopReason(row: ContainerToView): string {
  const isScaleIn = row.desiredInstances === 0 && row.stopFor === "system" && !isExpiredStop(row);
  return isScaleIn ? "The container needs fewer replicas: connect again" : stopReasonOf(row);
}

function progressOf(step: StartStep, now: number): Pick<Extract<Availability, { kind: "coming" }>, "phase" | "pull"> {
  if (step.pull && isPulling(step, now)) return { pull: { done: step.pull.done, total: step.pull.total } };
  return step.launchedOn === undefined ? {} : { phase: "boot" };
}

type PublishDeps = { store: Pick<Store, "containers" | "transaction">; changes: Pick<Changes, "publish"> };

/** Publishes a container anew that has another view, although its row has not changed. */
export async function publishAgain({ store, changes }: PublishDeps, id: string): Promise<void> {
  // In one transaction: no newer change of it leaves before the one that was read here.
  await store.transaction(async () => {
    const row = await store.containers.find(id);
    if (row) changes.publish(row);
  });
}

/** Publishes anew all containers whose requests are limited: another number of gateways shares the limit. */
export async function publishLimited({ store, changes }: PublishDeps): Promise<void> {
  await store.transaction(async () => {
    for (const row of await store.containers.limited()) changes.publish(row);
  });
}

/** Publishes anew all containers that have an address. */
export async function publishAddressed({ store, changes }: PublishDeps): Promise<void> {
  // In one transaction: no newer change of a container leaves before the one that was read here.
  await store.transaction(async () => {
    for (const { id, state, addresses } of await store.containers.atWork()) {
      const row = state === "STARTED" && addresses.length > 0 ? await store.containers.find(id) : undefined;
      if (row) changes.publish(row);
    }
  });
}
