import type { SessionRef } from "../../gateway/contract.ts";
import { ExpiringMap } from "../../lib/expiring-map.ts";
import type { Clock } from "../../lib/clock.ts";
import { Fault } from "../../lib/fault.ts";
import type { Container, StartReason, WarmUp } from "../model/entities.ts";
import { type ContainerState, isStarting } from "../model/states.ts";
import type { Store } from "../store/open-store.ts";
import { recordContainerRemoval } from "../store/change-events.ts";
import type { EndCounts, TcpPorts, WatchedAddresses } from "./addresses.ts";
import { admitStart, type CapacityDeps } from "./capacity.ts";
import { type Changes, currentView } from "./changes.ts";
import type { SuspectAddress } from "./check-container.ts";
import { isReplaceable, isStoppedAsDesired } from "./decide.ts";
import type { InFlightOperations } from "./engine.ts";
import type { LifecycleLimits } from "./limits.ts";
import type { Moves } from "./moves.ts";
import type { ReplacementTurns, ReplicaSets } from "./replica-sets.ts";
import type { StartSteps } from "./start-steps.ts";
import type { ContainerUsage } from "./usage.ts";
import { containerKey, imageKey, placeOfRow, type WorkQueue } from "./work-queue.ts";

/** What users and requests ask for. Each is one transaction, durable when it resolves, and may be repeated. Faults: CONTAINER_NOT_FOUND, and the store's. */
export type LifecycleRequests = {
  /**
   * A user's `run`, unless it is for something else. `ref`: with what its token ends. After a failed start it is tried again once the back-off has passed.
   * Faults: also USER_CAPACITY_FULL, SERVER_CAPACITY_FULL.
   */
  requestStart(id: string, userId: string | undefined, requestedFor?: StartReason, ref?: SessionRef): Promise<Container>;
  /**
   * A user's `restart`: a stop, where it or a replica of it runs, and a start. One that is to run anyway is not refused. Faults: those of `requestStart`.
   */
  requestRestart(id: string, userId: string, ref?: SessionRef): Promise<Container>;
  /** A user's `stop`. It cancels a start at once. */
  requestStop(id: string, userId: string): Promise<Container>;
  /**
   * A request for a container that a gateway cannot reach. A running container refused it, so its address is verified. `userId`: undefined for a TCP
   * connection, which has no user: the container then gets no token. Faults: also the cause where the request may not wake the container:
   * CONTAINER_STOPPED, that of the last start, USER_CAPACITY_FULL, or SERVER_CAPACITY_FULL.
   */
  wake(id: string, userId: string | undefined, ref?: SessionRef): Promise<Container>;
  /** The container reports that it is busy for so long from now, within its limit: until then it is not idle. 0 ends that. Faults: CONTAINER_STOPPED for one that does not run. */
  setBusy(id: string, ms: number): Promise<Container>;
  /** Sets the hours beside its keep_warm in which it is kept warm. False: by `auto`, for one for which a user has decided; or there is no such container. */
  setWarmUp(id: string, warmUp: WarmUp | undefined, by: WarmUp["by"]): Promise<boolean>;
  /** `since`: when the request was stored, of a publish; a validation that began later counts (epoch ms). Faults: IMAGE_ENTITY_NOT_FOUND. */
  requestValidation(imageId: string, userId?: string, since?: number): Promise<void>;
  /** The definition is new or changed: what runs of an older one is replaced once the image is READY and its open requests have ended. */
  definitionChanged(id: string, userId?: string): Promise<void>;
  /** Removes the container, and its service too. No fault where it is gone already. */
  remove(id: string): Promise<void>;
};

export type DesiredStateDeps = CapacityDeps & {
  store: Pick<Store, "containers" | "images" | "webhooks" | "transaction" | "afterCommit">;
  moves: Pick<Moves, "container" | "image" | "update">;
  suspect: SuspectAddress;
  changes: Pick<Changes, "publish" | "publishImage" | "publishRemoved">;
  queue: Pick<WorkQueue, "add" | "addAfter">;
  inFlight: InFlightOperations;
  ends: Pick<EndCounts, "forget">;
  usage: CapacityDeps["usage"] & Pick<ContainerUsage, "forget">;
  watched: Pick<WatchedAddresses, "current">;
  tcpPorts: Pick<TcpPorts, "assign" | "listenerOf">;
  steps: Pick<StartSteps, "noteOf" | "of">;
  gateways: ContainerUsage["gateways"];
  replicas: Pick<ReplicaSets, "of">;
  turnsOf(row: Container): ReplacementTurns | undefined;
  draining: Set<string>;
  clock: Pick<Clock, "now" | "monotonic">;
  limits: Pick<LifecycleLimits, "suspectEveryMs" | "busyMs">;
};

/** A gateway sent a wake so soon after the start before it knew of it. */
const FRESH_MS = 100;

/** A client that polls would cost a transaction, with a look at all that runs, for each request. */
const REFUSAL_MS = 1_000;
const MOST_REFUSALS = 10_000;

/** In these states the container runs, so that it may report. */
const RUNNING: readonly ContainerState[] = ["STARTING", "STARTED", "CHECKING", "PENDING_SYSTEM_STOP", "PENDING_USER_STOP"];

const STOPPED_BY_USER = new Fault("CONTAINER_STOPPED", "A user stopped the container.");
const REPLACED = new Fault("CONTAINER_STOPPED", "A newer definition replaces this one.");

export function createLifecycleRequests(deps: DesiredStateDeps): LifecycleRequests {
  const { store, moves, suspect, changes, inFlight, clock, limits } = deps;

  const find = async (id: string): Promise<Container> => {
    const row = await store.containers.find(id);
    if (!row) throw new Fault("CONTAINER_NOT_FOUND", `There is no container ${id}.`);
    return row;
  };
  /** What is decided on and what is written are one transaction; what is to follow happens once it is durable. */
  const reconcile = (row: Container): Container => {
    store.afterCommit(() => deps.queue.add(containerKey(row.id), placeOfRow(row)));
    return row;
  };
  const abort = (key: string, reason: Fault) => store.afterCommit(() => inFlight.abort(key, reason));
  const suspectedOn = new Map<string, number>();
  /** A gateway's connect was refused: the address is verified now, and if the container is lost, this request starts it again. */
  const verify = async (row: Container, userId: string | undefined): Promise<Container> => {
    const requestedOn = clock.now();
    if (row.state === "CHECKING") return row.requestedOn >= row.since ? row : ((await moves.update(row.id, { requestedOn })) ?? row);
    const waitMs = Math.max((suspectedOn.get(row.id) ?? -Infinity) + limits.suspectEveryMs - clock.monotonic(), row.since + FRESH_MS - requestedOn);
    if (waitMs > 0) {
      deps.queue.addAfter(containerKey(row.id), waitMs);
      return row;
    }
    store.afterCommit(() => suspectedOn.set(row.id, clock.monotonic()));
    // It need not listen: only what the orchestrator reports of it counts.
    if (row.deployed?.worker) return reconcile(row);
    return reconcile((await suspect(row, { requestedOn }, userId)) ?? row);
  };

  /** `row` was read in this transaction. */
  const start = async (row: Container, userId: string | undefined, requestedFor: StartReason, ref: SessionRef = {}): Promise<Container> => {
    const by = { requestedBy: userId, requestedKey: ref.key, requestedSession: ref.session };
    const patch = { desiredInstances: 1, ...by, requestedOn: clock.now(), requestedFor } as const;
    const moved = await moves.container(row, "startWished", { ...patch, fault: undefined }, { byUser: userId, isCurrent: true });
    if (moved) return reconcile(moved);
    // Requested already: the first request counts. A stop in progress ends first.
    return row.desiredInstances === 1 ? row : reconcile((await moves.update(row.id, patch)) ?? row);
  };

  /** By container and user. */
  const refusals = new ExpiringMap<string, Fault>({ ms: REFUSAL_MS, most: MOST_REFUSALS, clock });
  /** `request` is not made while a refusal of the same one is new. */
  const refuseFor = async (id: string, userId: string | undefined, request: () => Promise<Container>): Promise<Container> => {
    const key = `${id} ${userId ?? ""}`;
    const refusal = refusals.get(key);
    if (refusal !== undefined) {
      deps.capacityCounts.capacityRefusals.at(refusal.code === "USER_CAPACITY_FULL" ? "user" : "server").add();
      throw refusal;
    }
    return request().catch((error: unknown) => {
      const isRefusal = error instanceof Fault && (error.code === "USER_CAPACITY_FULL" || error.code === "SERVER_CAPACITY_FULL");
      if (isRefusal) refusals.set(key, error);
      throw error;
    });
  };
  const startAdmitted = async (row: Container, userId: string | undefined, ref: SessionRef | undefined): Promise<Container> => {
    await admitStart(deps, row, userId);
    return start(row, userId, "request", ref);
  };

  /** `row` was read in this transaction. */
  const stop = async (row: Container, userId: string): Promise<Container> => {
    const patch = { desiredInstances: 0, stopFor: "user" } as const;
    store.afterCommit(() => refusals.clear());
    const moved = await moves.container(row, "stopWished", patch, { byUser: userId });
    if (moved) {
      abort(containerKey(row.id), STOPPED_BY_USER);
      return reconcile(moved);
    }
    return row.desiredInstances === 0 && row.stopFor === "user" ? row : reconcile((await moves.update(row.id, patch)) ?? row);
  };

  const removeOne = async (row: Container): Promise<boolean> => {
    const { id } = row;
    const isRemoved = await store.containers.remove(id, clock.now());
    if (isRemoved) {
      await recordContainerRemoval(store, row, clock.now());
      changes.publishRemoved(id);
      store.afterCommit(() => {
        deps.usage.forget(id);
        deps.draining.delete(id);
        suspectedOn.delete(id);
        deps.ends.forget(id);
        refusals.clear();
      });
      abort(containerKey(id), STOPPED_BY_USER);
    }
    store.afterCommit(() => deps.queue.add(containerKey(id)));
    return isRemoved;
  };

  return {
    requestStart: (id, userId, requestedFor = "run", ref) =>
      store.transaction(async () => {
        const row = await find(id);
        if (requestedFor === "run") await admitStart(deps, row, userId);
        return start(row, userId, requestedFor, ref);
      }),
    // In one transaction: a crash between the two leaves it running.
    requestRestart: (id, userId, ref) =>
      store.transaction(async () => {
        const row = await find(id);
        await admitStart(deps, row, userId);
        // The number of them that its load needs starts again once it has started.
        for (const replica of await store.containers.replicasOf(id)) if (replica.desiredInstances === 1) await stop(replica, userId);
        // Of one that is stopped, failed, or stopping, only the start is new.
        const isStopDue = isStarting(row.state) || row.state === "STARTED" || row.state === "CHECKING";
        return start(isStopDue ? await stop(row, userId) : row, userId, "run", ref);
      }),
    requestStop: (id, userId) => store.transaction(async () => stop(await find(id), userId)),
    wake: (id, userId, ref) => {
      const request = async () => {
        const row = await find(id);
        if (row.replicaOf !== undefined) return row.state === "STARTED" || row.state === "CHECKING" ? verify(row, userId) : row;
        const { availability } = currentView(deps, row);
        if (availability.kind === "awake" || row.state === "CHECKING") return verify(row, userId);
        if (availability.kind === "asleep") return startAdmitted(row, userId, ref);
        if (availability.kind === "stopped") throw Fault.from(availability.fault);
        if (availability.kind !== "failed") return row;
        const waitMs = availability.retryAt - clock.now();
        if (!availability.wakeable || waitMs > 0)
          throw Fault.from({ ...availability.fault, ...(availability.wakeable ? { retryAfterMs: waitMs } : {}) });
        return startAdmitted(row, userId, ref);
      };
      return refuseFor(id, userId, () => store.transaction(request));
    },
    setBusy: (id, ms) =>
      store.transaction(async () => {
        const row = await find(id);
        if (!RUNNING.includes(row.state)) throw new Fault("CONTAINER_STOPPED", `The container ${row.name} does not run.`);
        const busyUntil = ms <= 0 ? 0 : Math.trunc(clock.now() + Math.min(ms, limits.busyMs));
        const busy = reconcile((await moves.update(row.id, { busyUntil })) ?? row);
        // All replicas sleep at once, when the container does.
        if (row.replicaOf !== undefined) reconcile(await find(row.replicaOf));
        return busy;
      }),
    setWarmUp: (id, warmUp, by) =>
      store.transaction(async () => {
        const row = await store.containers.find(id);
        if (!row || (by === "auto" && row.warmUp?.by === "user")) return false;
        reconcile((await moves.update(id, { warmUp })) ?? row);
        return true;
      }),
    requestValidation: (imageId, userId, since = Infinity) =>
      store.transaction(async () => {
        const image = await store.images.find(imageId);
        if (!image) throw new Fault("IMAGE_ENTITY_NOT_FOUND", `There is no image ${imageId}.`);
        const key = imageKey(imageId);
        // Of a large package, some are validated before the last is requested.
        if (image.state !== "PENDING_VALIDATION" && image.since >= since) return changes.publishImage(image);
        // Publishing may have moved the row already, in its own transaction.
        if (!(await moves.image(image, "validationWished", { fault: undefined }, userId))) changes.publishImage(image);
        if ((inFlight.generation(key) ?? since) < since) abort(key, new Fault("VALIDATION_TIMED_OUT", "Validation was requested again."));
        store.afterCommit(() => deps.queue.add(key));
      }),
    definitionChanged: (id, userId) =>
      store.transaction(async () => {
        const current = await store.containers.find(id);
        if (!current) return;
        const row = await deps.tcpPorts.assign(current);
        const deploying = inFlight.generation(containerKey(id));
        const isOlder = row.state === "STARTING" ? deploying !== undefined && deploying !== row.generation : row.runningGeneration !== row.generation;
        const serves = row.state === "STARTED" || row.state === "CHECKING";
        // One of several replicas is replaced when its turn comes, for which its next look asks.
        const isReplaced = !serves || (deps.turnsOf(row) === undefined && isReplaceable(await store.images.find(row.imageId)));
        const isDue = row.desiredInstances === 1 && isReplaced;
        const patch = { stopFor: "system", requestedOn: clock.now(), requestedFor: "redefinition" } as const;
        const moved = isOlder && isDue ? await moves.container(row, "redefined", patch, { byUser: userId }) : undefined;
        if (moved) abort(containerKey(id), REPLACED);
        else changes.publish(row);
        // A new one, and one that is stopped, has nothing at the engine: only warm hours may be a reason to start it.
        if (moved || !isStoppedAsDesired(row) || row.config.keepWarm || row.warmUp) reconcile(row);
      }),
    remove: (id) =>
      store.transaction(async () => {
        const row = await store.containers.find(id);
        const image = await store.images.find(row?.imageId ?? "");
        // With their tombstones, as for each container.
        for (const replica of await store.containers.replicasOf(id)) await removeOne(replica);
        if (row === undefined) return store.afterCommit(() => deps.queue.add(containerKey(id)));
        // The folder that left its package removed its image too.
        if ((await removeOne(row)) && image?.state === "DELETED") changes.publishImage(image);
      }),
  };
}
