import type { LaneLimits } from "./fair-lane.ts";
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
