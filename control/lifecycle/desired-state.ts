import { Fault } from "../../lib/fault.ts";
import type { SessionRef } from "../../gateway/contract.ts";
import type { Container, WishedFor } from "../model/entities.ts";
import type { ContainerState } from "../model/states.ts";
import { suspectAddress } from "./suspect-address.ts";
import { isReplaceable } from "./keep-container.ts";
import { moveContainer, type ContainerPatch, moveImage } from "./moves.ts";
import { isAtRest } from "./rest-container.ts";
import { containerKey, imageKey, type Rooms } from "./rooms.ts";
import { currentView } from "./container-view.ts";

/** What people and requests want. Each is durable when it returns, and may be repeated. Faults: CONTAINER_NOT_FOUND, and the store's. */
export type LifecycleRequests = {
  /** A user's `run`, unless it is for something else. `ref`: with what its token ends. After a failed start it is tried again once the back-off has passed. */
  requestStart(id: string, userId: string, wishedFor?: WishedFor, ref?: SessionRef): Container;
  /** A user's `stop`. A start under way is broken off at once. */
  requestStop(id: string, userId: string): Container;
  /** A request; one for a container that counts as awake was refused by it, so that is verified. Faults: also the cause where it may not wake the container: CONTAINER_STOPPED, or that of the last start. */
  wake(id: string, userId: string, ref?: SessionRef): Container;
  /** It says that it is busy for so long from now, at most as long as it may: until then it is not idle. 0 takes that back. Faults: CONTAINER_STOPPED for one that does not run. */
  setBusy(id: string, ms: number): Container;
  /** Faults: IMAGE_ENTITY_NOT_FOUND. */
  requestValidation(imageId: string, userId?: string): void;
  /** The definition is new or changed: what runs of an older one is replaced once the image is READY and its open requests have ended. */
  definitionChanged(id: string, userId?: string): void;
  /** Forgets the container and takes its service away. No fault where it is gone already. */
  remove(id: string): void;
};

/** A wake that comes so soon after the start was sent before the gateway had heard of it. */
const FRESH_MS = 100;

/** In these something runs whose word counts. */
const RUNNING: readonly ContainerState[] = ["STARTING", "STARTED", "CHECKING", "PENDING_SYSTEM_STOP", "PENDING_USER_STOP"];

const STOPPED_BY_USER = new Fault("CONTAINER_STOPPED", "A user stopped the container.");
const REPLACED = new Fault("CONTAINER_STOPPED", "A newer definition replaces this one.");

export function createLifecycleRequests(rooms: Rooms): LifecycleRequests {
  const { store, clock, changes, endCounts, flights, limits, queue, usage } = rooms;

  const find = (id: string): Container => {
    const row = store.containers.find(id);
    if (!row) throw new Fault("CONTAINER_NOT_FOUND", `There is no container ${id}.`);
    return row;
  };
  /** A wish that the state takes up later: a stop that is under way ends first. */
  const note = (row: Container, patch: ContainerPatch): Container => {
    const noted = store.containers.update(row.id, patch) ?? row;
    changes.publish(noted);
    return noted;
  };
  const doubtedOn = new Map<string, number>();
  /** A gateway's connect was refused: the container is looked at now, and if it is lost, this wish starts it again. */
  const askAgain = (row: Container, userId: string): Container => {
    const wishedOn = clock.now();
    if (row.state === "CHECKING") return row.wishedOn >= row.since ? row : note(row, { wishedOn });
    const waitMs = Math.max((doubtedOn.get(row.id) ?? -Infinity) + limits.doubtEveryMs - clock.monotonic(), row.since + FRESH_MS - wishedOn);
    if (waitMs > 0) {
      queue.addAfter(containerKey(row.id), waitMs);
      return row;
    }
    doubtedOn.set(row.id, clock.monotonic());
    return look(suspectAddress(rooms, row, { wishedOn }, userId) ?? row);
  };
  const look = (row: Container): Container => {
    queue.add(containerKey(row.id));
    return row;
  };

  const wishStart: LifecycleRequests["requestStart"] = (id, userId, wishedFor = "run", ref = {}) => {
    const row = find(id);
    const by = { wishedBy: userId, wishedKey: ref.key, wishedSession: ref.session };
    const patch = { desiredInstances: 1, ...by, wishedOn: clock.now(), wishedFor } as const;
    const moved = moveContainer(rooms, row, "startWished", { ...patch, fault: undefined }, userId);
    if (moved) return look(moved);
    // Wished already: who came first keeps the wish.
    return row.desiredInstances === 1 ? row : look(note(row, patch));
  };

  return {
    requestStart: wishStart,
    requestStop: (id, userId) => {
      const row = find(id);
      const patch = { desiredInstances: 0, stopFor: "user" } as const;
      const moved = moveContainer(rooms, row, "stopWished", patch, userId);
      if (moved) {
        flights.abort(containerKey(id), STOPPED_BY_USER);
        return look(moved);
      }
      return row.desiredInstances === 0 && row.stopFor === "user" ? row : look(note(row, patch));
    },
    wake: (id, userId, ref) => {
      const row = find(id);
      const { standing } = currentView(rooms, row);
      if (standing.kind === "awake" || row.state === "CHECKING") return askAgain(row, userId);
      if (standing.kind === "asleep") return wishStart(id, userId, "request", ref);
      if (standing.kind === "stopped") throw Fault.from(standing.fault);
      if (standing.kind !== "failed") return row;
      const waitMs = standing.retryAt - clock.now();
      if (!standing.wakeable || waitMs > 0) throw Fault.from({ ...standing.fault, ...(standing.wakeable ? { retryAfterMs: waitMs } : {}) });
      return wishStart(id, userId, "request", ref);
    },
    setBusy: (id, ms) => {
      const row = find(id);
      if (!RUNNING.includes(row.state)) throw new Fault("CONTAINER_STOPPED", `The container ${row.name} does not run.`);
      const busyUntil = ms <= 0 ? 0 : Math.trunc(clock.now() + Math.min(ms, limits.busyMs));
      // No gateway need hear of it, but who follows does.
      return look(note(row, { busyUntil }));
    },
    requestValidation: (imageId, userId) => {
      const image = store.images.find(imageId);
      if (!image) throw new Fault("IMAGE_ENTITY_NOT_FOUND", `There is no image ${imageId}.`);
      // Publishing may have moved the row already, in its own transaction.
      if (!moveImage(rooms, image, "validationWished", { fault: undefined }, userId)) changes.publishImage(image);
      flights.abort(imageKey(imageId), new Fault("VALIDATION_TIMED_OUT", "Validation was asked for again."));
      queue.add(imageKey(imageId));
    },
    definitionChanged: (id, userId) => {
      const row = store.containers.find(id);
      if (!row) return;
      const flying = flights.generation(containerKey(id));
      const older = row.state === "STARTING" ? flying !== undefined && flying !== row.generation : row.runningGeneration !== row.generation;
      const serves = row.state === "STARTED" || row.state === "CHECKING";
      const due = row.desiredInstances === 1 && (!serves || isReplaceable(rooms, row));
      const moved =
        older && due
          ? moveContainer(rooms, row, "redefined", { stopFor: "system", wishedOn: clock.now(), wishedFor: "redefinition" }, userId)
          : undefined;
      if (moved) flights.abort(containerKey(id), REPLACED);
      else changes.publish(row);
      // A new one, and one that rests, has nothing at the engine: only warm hours may be a reason to start it.
      if (moved || !isAtRest(row) || row.config.keepWarm) look(row);
    },
    remove: (id) => {
      const image = store.images.find(store.containers.find(id)?.imageId ?? "");
      if (store.containers.remove(id, clock.now())) {
        changes.publishRemoved(id);
        // The folder that left its package took it along.
        if (image?.state === "DELETED") changes.publishImage(image);
        usage.forget(id);
        rooms.draining.delete(id);
        doubtedOn.delete(id);
        endCounts.forget(id);
        flights.abort(containerKey(id), STOPPED_BY_USER);
      }
      queue.add(containerKey(id));
    },
  };
}
