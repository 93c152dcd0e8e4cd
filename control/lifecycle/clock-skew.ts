import type { Clock } from "../../lib/clock.ts";
import { isPassing } from "../model/states.ts";
import type { Store } from "../store/open-store.ts";
import { containerKey, imageKey } from "./lanes.ts";
import type { LifecycleLimits } from "./limits.ts";
import type { Moves } from "./moves.ts";
import type { WorkQueue } from "./work-queue.ts";

/** How far the two clocks may drift apart between two reads without the clock having been set; slewing causes far less. */
const JUMP_MS = 1_000;

/**
 * The moment (epoch ms) since which the clock has run evenly: since this call, or since it was last set forward. Waiting counts from there, so that a jump, or a machine
 * that slept, makes nothing time out or stop for idleness at once.
 */
export function createMonotonicEpoch(clock: Pick<Clock, "now" | "monotonic">): () => number {
  let since = clock.now();
  let offset = since - clock.monotonic();
  return () => {
    const now = clock.now();
    const current = now - clock.monotonic();
    if (current - offset > JUMP_MS) since = now;
    // Set back: the same moment, as the clock shows it now.
    if (offset - current > JUMP_MS) since += current - offset;
    offset = current;
    return since;
  };
}

export type ClockSkewDeps = {
  store: Pick<Store, "containers" | "images" | "transaction" | "afterCommit">;
  moves: Pick<Moves, "update">;
  queue: Pick<WorkQueue, "add">;
  clock: Pick<Clock, "now">;
  limits: Pick<LifecycleLimits, "startRetry">;
};

/**
 * Repairs rows with a time in the future: the clock was set back since. What waits in them counts from now, and not from when that time comes again, which
 * may be hours.
 */
export async function repairClockSkew({ store, moves, queue, clock, limits }: ClockSkewDeps): Promise<void> {
  const now = clock.now();
  const latest = now + limits.startRetry.longestMs;
  const look = (key: string) => store.afterCommit(() => queue.add(key));
  await store.transaction(async () => {
    for (const { id } of await store.images.ofTheFuture(now)) {
      await store.images.update(id, { since: now });
      look(imageKey(id));
    }
    for (const { id, state, since, notBefore } of await store.containers.ofTheFuture(now, latest)) {
      const waits = since > now && (isPassing(state) || state === "STARTED");
      if (!waits && notBefore <= latest) continue;
      await moves.update(id, { ...(waits ? { since: now } : {}), ...(notBefore > latest ? { notBefore: now } : {}) });
      look(containerKey(id));
    }
  });
}
