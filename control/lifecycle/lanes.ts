import type { ContainerState } from "../model/states.ts";
import type { Store } from "../store/open-store.ts";

/** The keys of the work queue: what is to be reconciled, in the form `kind:id`. */
export const SWEEP = "sweep";
export const containerKey = (id: string): string => `container:${id}`;
export const imageKey = (id: string): string => `image:${id}`;
/** The image is to be pulled, and nothing else is to be done with it. */
export const prefetchKey = (id: string): string => `prefetch:${id}`;
/** No registry had the image: it is to be looked for again. */
export const missingKey = (id: string): string => `missing:${id}`;

/**
 * Kinds of work: nothing in one lane waits for anything in another. A start may wait minutes for its container's boot, a stop 10 s for its container's end,
 * an image half an hour for its pull.
 */
export const LANES = ["start", "stop", "look", "image", "sweep"] as const;
export type Lane = (typeof LANES)[number];
export type LimitsByLane = Record<Lane, LaneLimits>;

/** Which lane a container's next step belongs to. */
const LANE_OF_STATE: Record<ContainerState, Lane> = {
  PENDING_START: "start",
  STARTING: "start",
  STARTED: "look",
  CHECKING: "look",
  PENDING_USER_STOP: "stop",
  PENDING_SYSTEM_STOP: "stop",
  STOPPING: "stop",
  USER_STOPPED: "look",
  SYSTEM_STOPPED: "look",
  ERROR: "look",
};

export function laneOf({ state }: { state: ContainerState }): Lane {
  return LANE_OF_STATE[state];
}

export type LanePlace = { lane: Lane; user: string };

/** The lane of a key, and the user whose turn it takes: who requested the start, or published the image. */
export async function placeOf(store: Pick<Store, "containers" | "images">, key: string): Promise<LanePlace> {
  try {
    return await findPlace(store, key);
  } catch {
    // The store cannot be read: the work itself reports that.
    return { lane: "look", user: "" };
  }
}

async function findPlace(store: Pick<Store, "containers" | "images">, key: string): Promise<LanePlace> {
  const [kind, id = ""] = key.split(":");
  if (kind === "container") {
    const row = await store.containers.place(id);
    // A removed container: its service is ended.
    return row ? { lane: laneOf(row), user: row.requestedBy ?? "" } : { lane: "stop", user: "" };
  }
  if (id === "") return { lane: "sweep", user: "" };
  return { lane: "image", user: (await store.images.author(id)) ?? "" };
}

/**
 * How much may be in progress at a time, in all and of one user. `equalShares`: while several users have something in progress or waiting, each has as many of `total` as the others, and
 * what does not divide stays free.
 */
export type LaneLimits = { total: number; perUser: number; equalShares?: boolean };

/**
 * A queue in which users take turns, with each user's items in their order. A user with a hundred items needs a hundred turns, and no other user
 * waits for them. An item is in it once.
 */
export type FairLane = {
  put(item: string, user: string): void;
  /** True where it was waiting. */
  remove(item: string): boolean;
  /** The next one that may begin, which then counts as in progress until `end`; undefined where nothing waits or may begin. */
  begin(): { item: string; user: string } | undefined;
  end(user: string): void;
  waiting(): number;
};

export function createFairLane(bounds: LaneLimits): FairLane {
  // In the order of turns: a user who had one goes to the end.
  const queues = new Map<string, Set<string>>();
  const userOf = new Map<string, string>();
  const inProgress = new Map<string, number>();
  let total = 0;
  const most = () => {
    if (bounds.equalShares !== true) return bounds.perUser;
    const users = new Set([...queues.keys(), ...inProgress.keys()]).size;
    return Math.min(bounds.perUser, Math.max(1, Math.floor(bounds.total / Math.max(1, users))));
  };
  return {
    put: (item, user) => {
      if (userOf.has(item)) return;
      userOf.set(item, user);
      const queue = queues.get(user);
      if (queue) queue.add(item);
      else queues.set(user, new Set([item]));
    },
    remove: (item) => {
      const user = userOf.get(item);
      if (user === undefined) return false;
      userOf.delete(item);
      const queue = queues.get(user);
      queue?.delete(item);
      if (queue?.size === 0) queues.delete(user);
      return true;
    },
    begin: () => {
      if (total >= bounds.total || queues.size === 0) return undefined;
      const perUser = most();
      for (const [user, queue] of queues) {
        const count = inProgress.get(user) ?? 0;
        const [item] = queue;
        if (item === undefined || count >= perUser) continue;
        queue.delete(item);
        userOf.delete(item);
        queues.delete(user);
        if (queue.size > 0) queues.set(user, queue);
        inProgress.set(user, count + 1);
        total++;
        return { item, user };
      }
      return undefined;
    },
    end: (user) => {
      const left = (inProgress.get(user) ?? 0) - 1;
      if (left > 0) inProgress.set(user, left);
      else inProgress.delete(user);
      total--;
    },
    waiting: () => userOf.size,
  };
}

/**
 * How many starts the engine works on at a time. A start has a slot while the engine creates its container. It gives the slot back when it waits only for the
 * container's boot or a pull.
 */
export type StartSlots = {
  /** Resolves once `item` has a slot, which it may have already. Rejects with the signal's reason. */
  enter(item: string, user: string, signal: AbortSignal): Promise<void>;
  /** Gives the slot back; no fault where it has none. */
  leave(item: string): void;
};

export function createStartSlots(bounds: LaneLimits): StartSlots {
  const lane = createFairLane(bounds);
  const held = new Map<string, string>();
  const admitted = new Map<string, () => void>();

  const pump = () => {
    for (let next = lane.begin(); next !== undefined; next = lane.begin()) {
      held.set(next.item, next.user);
      admitted.get(next.item)?.();
    }
  };

  return {
    enter: (item, user, signal) =>
      new Promise((resolve, reject) => {
        if (signal.aborted) return reject(signal.reason as Error);
        if (held.has(item)) return resolve();
        const onAbort = () => {
          lane.remove(item);
          admitted.delete(item);
          reject(signal.reason as Error);
        };
        signal.addEventListener("abort", onAbort, { once: true });
        admitted.set(item, () => {
          signal.removeEventListener("abort", onAbort);
          admitted.delete(item);
          resolve();
        });
        lane.put(item, user);
        pump();
      }),
    leave: (item) => {
      const user = held.get(item);
      if (user === undefined) return;
      held.delete(item);
      lane.end(user);
      pump();
    },
  };
}
