import type { Clock } from "../../lib/clock.ts";
import type { FaultData } from "../../lib/fault.ts";
import { withoutTimes } from "../../lib/lines.ts";
import type { DriverTimes } from "../../lib/start-phases.ts";
import type { Container, ContainerPatch, Image, ImagePatch, OwnedAddress } from "../model/entities.ts";
import { CONTAINER_TABLE, type ContainerEvent, type ContainerState, IMAGE_TABLE, type ImageEvent, isStarting, nextState } from "../model/states.ts";
import { causeOf } from "../store/history.ts";
import type { Store } from "../store/open-store.ts";
import { recordContainerMove, recordImageMove } from "../store/change-events.ts";
import { type EndCounts, hasAddress } from "./addresses.ts";
import type { Changes } from "./changes.ts";
import { cutFaultLogs, cutLogTail } from "./engine.ts";
import type { StartSteps } from "./start-steps.ts";
import type { ComponentLogs } from "./telemetry.ts";
import { containerKey, type WorkQueue } from "./work-queue.ts";

/** Every write of the lifecycle that watchers see. What is written is published once it is durable. */
export type Moves = {
  /**
   * The only way from one state to another: along the table, and only where the row is still what the decision was made from. Undefined where either
   * refuses. Addresses that come with the patch are taken from the containers that have them, in the same transaction.
   */
  container(row: Container, event: ContainerEvent, patch?: ContainerPatch, options?: MoveOptions): Promise<Container | undefined>;
  image(image: Image, event: ImageEvent, patch: ImagePatch, byUser?: string): Promise<Image | undefined>;
  /** For everything but the state; takes addresses from others as `container` does. Undefined where there is no such container. */
  update(id: string, patch: ContainerPatch): Promise<Container | undefined>;
  /**
   * The orchestrator has given addresses to a container that is being started: from now on they are this container's alone, not only once it answers. For
   * one that already runs, in a check, that is decided later.
   */
  claimAddresses(row: Container, addresses: readonly OwnedAddress[], isNew: boolean): Promise<void>;
};

export type MoveOptions = {
  /** The user who requested it, where there is one. */
  byUser?: string | undefined;
  /** The row was read in the transaction around the move. */
  isCurrent?: boolean;
  /** It follows from what was observed, whatever is desired meanwhile: only the state has to be the same. */
  isFact?: boolean;
};

export type MovesDeps = {
  store: Store;
  changes: Pick<Changes, "publish" | "publishImage">;
  queue: Pick<WorkQueue, "add">;
  ends: EndCounts;
  clock: Pick<Clock, "now">;
  logs: Pick<ComponentLogs, "images" | "containers">;
  steps: Pick<StartSteps, "takePhases">;
};

export function createMoves({ store, changes, queue, ends, clock, logs, steps }: MovesDeps): Moves {
  /**
   * Publishes the containers whose addresses were taken, before their new owner is published, so that no gateway ever has both. For queries to the orchestrator
   * that began before, it counts as an end.
   */
  const publishTaken = (taken: readonly Container[], by: Pick<Container, "id" | "name">) => {
    for (const { id, name } of taken) logs.containers.warn({ container: id, name, by: by.id, byName: by.name }, "address given to another container");
    for (const one of taken) {
      ends.record(one.id);
      changes.publish(one);
      queue.add(containerKey(one.id));
    }
  };

  return {
    container: async (row, event, patch = {}, { byUser, isCurrent = false, isFact = false } = {}) => {
      const to = nextState(CONTAINER_TABLE, row.state, event);
      if (!to) return undefined;
      const at = clock.now();
      const fault = patch.fault ? { fault: cutFaultLogs(patch.fault) } : {};
      return store.transaction(async () => {
        const given = patch.addresses ?? [];
        const [found, holders] = given.length === 0 ? [] : await Promise.all([store.containers.find(row.id), store.containers.atAddresses(given)]);
        const now = isCurrent ? row : found;
        if (given.length > 0 && !isSameDecision(row, now, isFact)) return undefined;
        const taken = await takeAddresses(store, row.id, { addresses: given, holders, at });
        // After an address was suspect, the same instance goes on. A later time is from before the clock was set back.
        const { runningSince = Infinity } = now ?? row;
        const begun = to === "STARTED" && (event === "answered" || runningSince > at) ? { runningSince: at } : {};
        const values = { since: at, ...begun, ...patch, ...fault };
        const basis = now ? { current: now } : isFact ? undefined : row;
        const moved = await store.containers.move(row.id, row.state, to, values, { at, event, byUser }, basis);
        if (!moved) return undefined;
        await recordWake(store, { from: row.state, moved, event, at, reached: steps.takePhases });
        await recordContainerMove(store, row.state, moved, at);
        const cause = patch.fault ? { fault: patch.fault.code } : {};
        store.afterCommit(() => logs.containers.info({ container: row.id, name: row.name, from: row.state, to, event, ...cause }, "container moved"));
        store.afterCommit(() => publishTaken(taken, moved));
        changes.publish(moved);
        return moved;
      });
    },
    image: async (image, event, patch, byUser) => {
      const to = nextState(IMAGE_TABLE, image.state, event);
      if (!to) return undefined;
      const at = clock.now();
      return store.transaction(async () => {
        const moved = await store.images.move(image.id, image.state, to, { since: at, ...patch }, { at, event, byUser });
        if (!moved) return undefined;
        await recordImageMove(store, moved, at);
        const cause = patch.fault ? { fault: patch.fault.code } : {};
        store.afterCommit(() => logs.images.info({ image: image.id, name: image.name, from: image.state, to, event, ...cause }, "image moved"));
        changes.publishImage(moved);
        return moved;
      });
    },
    update: (id, patch) =>
      // In one transaction: what is published leaves in the order in which it was written.
      store.transaction(async () => {
        const given = patch.addresses ?? [];
        const [found, holders] = given.length === 0 ? [] : await Promise.all([store.containers.find(id), store.containers.atAddresses(given)]);
        const taken = found ? await takeAddresses(store, id, { addresses: given, holders, at: clock.now() }) : [];
        const updated = await store.containers.update(id, patch);
        if (!updated) return undefined;
        store.afterCommit(() => publishTaken(taken, updated));
        changes.publish(updated);
        return updated;
      }),
    claimAddresses: ({ id, name, state }, addresses, isNew) =>
      store.transaction(
        async () => {
          if (state !== "STARTING" && !isNew) return;
          const [row, holders] = await Promise.all([store.containers.find(id), store.containers.atAddresses(addresses)]);
          const taken = await takeAddresses(store, id, { addresses, holders, at: clock.now() });
          // Where its start was cancelled meanwhile, it listens there until it is stopped, and is sent nothing.
          if (row?.state === state) await store.containers.update(id, { addresses });
          store.afterCommit(() => publishTaken(taken, { id, name }));
        },
        // The next deploy of it claims them again.
        { isDeferred: true },
      ),
  };
}

/** Whether `now` is still what a decision about `row` was made from. */
export function isSameDecision(row: Container, now: Container | undefined, isFact = false): boolean {
  if (now?.state !== row.state) return false;
  return isFact || (now.desiredInstances === row.desiredInstances && now.stopFor === row.stopFor && now.generation === row.generation);
}

/** The columns of a container that does not run. */
export const NOT_RUNNING = {
  addresses: [],
  runningGeneration: undefined,
  runningSince: undefined,
  pausedOn: undefined,
  busyUntil: 0,
} as const satisfies ContainerPatch;

/** What a failure leaves in the row: the cause, and when the next start may be tried (epoch ms), whatever the cause says of that. */
export function failurePatch(cause: FaultData, attempts: number, notBefore: number): ContainerPatch {
  const fault = { ...cause };
  delete fault.retryAfterMs;
  return { fault, attempts, notBefore, ...(fault.logs?.length ? { lastLogs: cutLogTail(withoutTimes(fault.logs).join("\n")) } : {}) };
}

/**
 * Takes addresses from the containers that have them, whatever state those are in; to be called in the transaction that gives them to another. One that runs and has
 * no other address is checked then: until the orchestrator has reported its address, nothing is sent to it. Returns the containers that had them.
 * `holders`: as `atAddresses`, read in that transaction.
 */
async function takeAddresses(
  store: Pick<Store, "containers" | "wakes" | "webhooks" | "requireDurable">,
  to: string,
  { addresses, holders = [], at }: { addresses: readonly OwnedAddress[]; holders?: readonly Container[] | undefined; at: number },
): Promise<Container[]> {
  const taken: Container[] = [];
  for (const holder of holders) {
    if (holder.id === to) continue;
    // Undone, requests for it would be sent to the other container.
    store.requireDurable();
    const remaining = holder.addresses.filter((one) => !hasAddress(addresses, one));
    const isElsewhere = holder.state === "STARTED" && remaining.length === 0;
    const reason = { at, event: "doubted", byUser: undefined } as const;
    const patch = { addresses: remaining };
    const without = isElsewhere
      ? await store.containers.move(holder.id, "STARTED", "CHECKING", { since: at, ...patch }, reason)
      : await store.containers.update(holder.id, patch);
    if (!without) continue;
    if (isElsewhere) {
      await recordWake(store, { ...reason, from: "STARTED", moved: without });
      await recordContainerMove(store, "STARTED", without, at);
    }
    taken.push(without);
  }
  return taken;
}

/** `reached`: the phases of a start that did not succeed. */
type ContainerMove = {
  from: ContainerState;
  moved: Container;
  event: ContainerEvent;
  at: number;
  reached?: (id: string) => Partial<DriverTimes> | undefined;
};

/** Keeps the list of a container's starts, in the transaction of each of its moves. */
async function recordWake({ wakes }: Pick<Store, "wakes">, { from, moved, event, at, reached }: ContainerMove): Promise<void> {
  const wasStarting = isStarting(from);
  const isStartingNow = isStarting(moved.state);
  // A newer definition takes the place of what was about to start: that is another start.
  const isNew = isStartingNow && (!wasStarting || event === "redefined");
  if (wasStarting && (!isStartingNow || isNew)) {
    // Before `STARTING`, no deploy of this start has begun.
    const partial = from === "STARTING" && event !== "answered" ? reached?.(moved.id) : undefined;
    const phases = event === "answered" ? moved.phases : undefined;
    await wakes.end(moved.id, {
      endedOn: at,
      outcome: event,
      phases,
      reached: partial,
      fault: moved.state === "ERROR" ? causeOf(moved.fault) : undefined,
    });
  }
  if (isNew) {
    // A retry that berth makes by itself: no one has waited since the request.
    const requestedAt = from === "ERROR" || moved.requestedOn === 0 ? at : Math.min(at, moved.requestedOn);
    const byPerson = moved.requestedFor === "run" || moved.requestedFor === "request";
    await wakes.begin({ container: moved.id, requestedAt, startReason: moved.requestedFor, byUser: byPerson ? moved.requestedBy : undefined });
  } else if (moved.state === "STARTING") await wakes.begun(moved.id, at);
}
