import type { Clock } from "../../lib/clock.ts";
import { createFairSlots, type FairSlotLimits, type FairSlots } from "../../lib/fair-queues.ts";
import { Fault } from "../../lib/fault.ts";
import type { Metrics } from "../../lib/metrics/open-metrics.ts";
import type { ContainerView } from "../contract.ts";

/**
 * The places for the requests of a container with a `max_concurrency`, at this gateway. A free place goes to the waiting user who has the fewest, so that one
 * who sends a thousand requests does not delay the others.
 */
export type ContainerPlaces = {
  slots: FairSlots;
  limits: FairSlotLimits;
  lastUser: string;
  /** When that user's last request came, epoch ms. */
  lastAt: number;
  /** When a request came of another user than the one before, epoch ms. */
  sharedAt: number;
};

/** For so long after that, one place stays free for other users: without it they would wait for a request that is being answered. */
const SHARED_MS = 10_000;

/** Requests of one container that may wait for a place, and those of one user among them. */
const MOST_WAITING = 1_000;
const MOST_WAITING_PER_USER = 500;
/** Suggested to clients. */
const RETRY_AFTER_MS = 1_000;

/** Those of the container: the same ones, with another limit where that has changed. */
export function placesFor({ name, maxConcurrency }: ContainerView, before: ContainerPlaces | undefined): ContainerPlaces | undefined {
  const most = maxConcurrency ?? Infinity;
  if (before !== undefined && before.limits.slots !== most) {
    Object.assign(before.limits, { slots: most, slotsPerUser: most });
    before.slots.limitsChanged();
  }
  if (maxConcurrency === undefined) return undefined;
  if (before !== undefined) return before;
  const full = (ofUser: boolean) =>
    busyFault(
      `${ofUser ? `${MOST_WAITING_PER_USER} requests of yours` : `${MOST_WAITING} requests`} already wait for ${name}, which takes ${limits.slots} at once.`,
    );
  const limits = { slots: maxConcurrency, slotsPerUser: maxConcurrency, waiting: MOST_WAITING, waitingPerUser: MOST_WAITING_PER_USER, full };
  return { slots: createFairSlots(limits), limits, lastUser: "", lastAt: -Infinity, sharedAt: -Infinity };
}

/** A request of `user` has come. `now`: epoch ms. */
export function notePlaceUser(places: ContainerPlaces, user: string, now: number): void {
  if (places.lastUser !== user && now - places.lastAt < SHARED_MS) places.sharedAt = now;
  places.lastUser = user;
  places.lastAt = now;
  const { limits, slots } = places;
  const perUser = now - places.sharedAt < SHARED_MS ? Math.max(1, limits.slots - 1) : limits.slots;
  if (perUser === limits.slotsPerUser) return;
  limits.slotsPerUser = perUser;
  // Who waits comes before the new request.
  slots.limitsChanged();
}

function busyFault(sentence: string): Fault {
  return new Fault("CONTAINER_BUSY", sentence, { retryAfterMs: RETRY_AFTER_MS });
}

type PlaceWaitDeps = { clock: Clock; placeWaits?: Metrics["placeWaits"] | undefined; placeWaitSeconds?: Metrics["placeWaitSeconds"] | undefined };

/** Waits for a place until `until`, on the clock's monotonic scale. Faults: CONTAINER_BUSY; the signal's reason. */
export async function waitForPlace(
  { clock, placeWaits, placeWaitSeconds }: PlaceWaitDeps,
  { slots, limits }: ContainerPlaces,
  { user, name, until, signal }: { user: string; name: string; until: number; signal: AbortSignal },
): Promise<void> {
  const from = clock.monotonic();
  const overdue = new AbortController();
  const cancel = clock.after(Math.max(0, until - from), () => {
    const seconds = Math.round((until - from) / 100) / 10;
    overdue.abort(busyFault(`${name} takes ${limits.slots} requests at once, and none of them ended within ${seconds} s.`));
  });
  try {
    await slots.enter(user, AbortSignal.any([signal, overdue.signal]));
    placeWaits?.at("entered").add();
    placeWaitSeconds?.at().observe((clock.monotonic() - from) / 1_000);
  } catch (error) {
    placeWaits?.at(error instanceof Fault ? error.code : "left").add();
    throw error;
  } finally {
    cancel();
  }
}
