import { ControlEnds } from "../../drivers/driver.ts";
import { type BackoffRange, retryDelay } from "../../lib/backoff.ts";
import type { Clock } from "../../lib/clock.ts";
import { createRoundRobinQueue, type RoundRobinLimits } from "../../lib/fair-queues.ts";
import type { Container } from "../model/entities.ts";
import { type Lane, laneOf, LANES } from "../model/states.ts";
import type { Store } from "../store/open-store.ts";

/** The keys of the work queue: what is to be reconciled, in the form `kind:id`. */
export const SWEEP = "sweep";
export const containerKey = (id: string): string => `container:${id}`;
export const imageKey = (id: string): string => `image:${id}`;
/** The image is to be pulled, and nothing else is to be done with it. */
export const prefetchKey = (id: string): string => `prefetch:${id}`;
/** The number of its replicas is to be decided. */
export const replicasKey = (id: string): string => `replicas:${id}`;
/** No registry had the image: it is to be looked for again. */
export const missingKey = (id: string): string => `missing:${id}`;

/**
 * Requests work on a key: however often a key is added, it is worked on once, by one worker at a time. A key that is added during its work is worked
 * on once more; one whose work fails is retried with back-off. Keys wait in lanes, each with its own workers, and in a lane users take turns.
 */
export type WorkQueue = {
  /** One that already waits is placed again: its lane may have changed. `place`: where it belongs, if that is known. */
  add(key: string, place?: LanePlace): void;
  /** The earliest of all pending times counts. */
  addAfter(key: string, ms: number): void;
  /** Keys that wait for a worker, and those that have one. */
  depth(): { waiting: number; running: number };
  /** Takes no more work, aborts what runs with `ControlEnds`, and resolves when it has ended. */
  close(): Promise<void>;
};

/** `lane`: the one that it has a worker of. `leaveLane`: gives that worker to another key, if fewer than `MOST_OUTSIDE` have done so; this one's work goes on, and is still its only one. */
export type WorkOptions = { lane: Lane; pending: PendingStart | undefined; leaveLane: () => void };

/** Each may be a read of the store, and a gateway's report may end the use of a hundred thousand containers. */
const PLACED_IN_ONE_TURN = 100;

/** So much work may be outside its lane at a time: with an engine that hangs, every stop leaves it. */
export const MOST_OUTSIDE = 64;

type Entry = {
  /** Where it waits for a worker. */
  lane: Lane | undefined;
  running: boolean;
  /** Added while running. */
  again: boolean;
  failures: number;
  timer: { at: number; cancel: () => void } | undefined;
  /** As it was when the key was placed last. */
  pending: PendingStart | undefined;
};

export function openWorkQueue(options: {
  work: (key: string, signal: AbortSignal, options: WorkOptions) => Promise<void>;
  /** Where a key belongs now. */
  place: (key: string) => Promise<LanePlace>;
  failed: (key: string, error: unknown, retryInMs: number) => void;
  clock: Clock;
  lanes: Record<Lane, RoundRobinLimits>;
  retry: BackoffRange;
  random: () => number;
}): WorkQueue {
  const { clock } = options;
  const entries = new Map<string, Entry>();
  const lanes = new Map(LANES.map((lane) => [lane, createRoundRobinQueue(options.lanes[lane])] as const));
  const unplaced = new Map<string, LanePlace | undefined>();
  const running = new Set<Promise<void>>();
  const stop = new AbortController();
  const pumping = new Set<Lane>();
  let placing: Promise<void> | undefined;
  let outside = 0;

  const entryOf = (key: string): Entry => {
    const entry = entries.get(key);
    if (entry) return entry;
    const fresh: Entry = { lane: undefined, running: false, again: false, failures: 0, timer: undefined, pending: undefined };
    entries.set(key, fresh);
    return fresh;
  };

  const add = (key: string, place?: LanePlace) => {
    if (stop.signal.aborted) return;
    const entry = entryOf(key);
    entry.timer?.cancel();
    entry.timer = undefined;
    if (entry.running) {
      entry.again = true;
      return;
    }
    unplaced.set(key, place);
    placing ??= placeAll();
  };

  const addAfter = (key: string, ms: number) => {
    if (stop.signal.aborted) return;
    const entry = entryOf(key);
    const at = clock.monotonic() + ms;
    if (entry.lane !== undefined || unplaced.has(key) || (entry.timer && entry.timer.at <= at)) return;
    entry.timer?.cancel();
    entry.timer = { at, cancel: clock.after(ms, () => add(key)) };
  };

  const placeAll = async () => {
    // Each is placed after its caller's turn. Those that are added meanwhile are placed too.
    let placed = 0;
    for (const [key, given] of unplaced) {
      if (++placed % PLACED_IN_ONE_TURN === 0) await new Promise(setImmediate);
      const found = await (given ?? options.place(key));
      if (stop.signal.aborted) return;
      // Of what was given meanwhile, the newest counts.
      const { lane, user, pending } = unplaced.get(key) ?? found;
      unplaced.delete(key);
      const entry = entryOf(key);
      // Its work began meanwhile, because a worker of its lane became free.
      if (entry.running) {
        entry.again = true;
        continue;
      }
      if (entry.lane !== undefined && entry.lane !== lane) lanes.get(entry.lane)?.remove(key);
      entry.lane = lane;
      entry.pending = pending;
      lanes.get(lane)?.put(key, user);
    }
    // At once: a key that is added before a promise of this has settled would wait for the next one.
    placing = undefined;
    for (const lane of LANES) pump(lane);
  };

  /** One key per turn of the event loop: each begins with a commit, and hundreds in one turn would block every request. */
  const pump = (lane: Lane) => {
    const turns = lanes.get(lane);
    const next = stop.signal.aborted || pumping.has(lane) ? undefined : turns?.begin();
    if (next === undefined) return;
    let inLane = true;
    const leaveLane = () => {
      if (!inLane || outside >= MOST_OUTSIDE) return;
      inLane = false;
      outside++;
      turns?.end(next.user);
      pump(lane);
    };
    const run = work(next.item, lane, leaveLane).finally(() => {
      running.delete(run);
      if (!inLane) return void outside--;
      turns?.end(next.user);
      pump(lane);
    });
    running.add(run);
    pumping.add(lane);
    setImmediate(() => {
      pumping.delete(lane);
      pump(lane);
    });
  };

  const work = async (key: string, lane: Lane, leaveLane: () => void) => {
    const entry = entryOf(key);
    entry.lane = undefined;
    entry.running = true;
    entry.again = false;
    const { pending } = entry;
    entry.pending = undefined;
    let retryInMs: number | undefined;
    try {
      await options.work(key, stop.signal, { lane, pending, leaveLane });
      entry.failures = 0;
    } catch (error) {
      if (stop.signal.aborted) return;
      entry.failures++;
      retryInMs = retryDelay(options.retry, entry.failures, options.random);
      options.failed(key, error, retryInMs);
    } finally {
      entry.running = false;
    }
    if (entry.again) add(key);
    else if (retryInMs !== undefined) addAfter(key, retryInMs);
    else if (!entry.timer) entries.delete(key);
  };

  return {
    add,
    addAfter,
    depth: () => ({ waiting: unplaced.size + [...lanes.values()].reduce((sum, lane) => sum + lane.waiting(), 0), running: running.size }),
    close: async () => {
      stop.abort(new ControlEnds("the work queue is closed"));
      for (const entry of entries.values()) entry.timer?.cancel();
      await Promise.allSettled([...running, placing]);
    },
  };
}

/** What a start is begun from, where it is known to be requested: its worker need not read the row before. */
export type PendingStart = Pick<Container, "id" | "imageId" | "packageId" | "generation" | "requestedBy" | "requestedKey" | "replicaOf">;

export type LanePlace = { lane: Lane; user: string; pending?: PendingStart | undefined };

/** The lane of a key, and the user whose turn it takes: who requested the start, or published the image. */
export async function placeOf(store: Pick<Store, "containers" | "images">, key: string): Promise<LanePlace> {
  try {
    return await findPlace(store, key);
  } catch {
    // The store cannot be read: the work itself reports that.
    return { lane: "look", user: "" };
  }
}

function placeOfContainer(row: Pick<Container, "state" | "requestedBy" | "packageId" | "replicaOf">): LanePlace {
  return { lane: laneOf(row), user: turnOf(row) };
}

/** Who takes turns: users, and packages with their further replicas, for which no user of theirs is to wait. */
export function turnOf({ requestedBy, packageId, replicaOf }: Pick<Container, "requestedBy" | "packageId" | "replicaOf">): string {
  return replicaOf === undefined ? (requestedBy ?? "") : `replicas of ${packageId}`;
}

/** As `placeOfContainer`, of a row that was read whole. */
export function placeOfRow(row: Container): LanePlace {
  const { id, imageId, packageId, generation, requestedBy, requestedKey, replicaOf } = row;
  const pending = { id, imageId, packageId, generation, requestedBy, requestedKey, replicaOf };
  return { ...placeOfContainer(row), ...(row.state === "PENDING_START" ? { pending } : {}) };
}

async function findPlace(store: Pick<Store, "containers" | "images">, key: string): Promise<LanePlace> {
  const [kind, id = ""] = key.split(":");
  if (kind === "container") {
    const row = await store.containers.place(id);
    // A removed container: its service is ended.
    return row ? placeOfContainer(row) : { lane: "stop", user: "" };
  }
  if (kind === "replicas") return { lane: "look", user: "" };
  if (id === "") return { lane: "sweep", user: "" };
  return { lane: "image", user: (await store.images.author(id)) ?? "" };
}
