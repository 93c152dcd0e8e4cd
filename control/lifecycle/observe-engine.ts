import type { Driver, Observed } from "../../drivers/driver.ts";
import { retryDelay } from "../../lib/backoff.ts";
import type { Clock } from "../../lib/clock.ts";
import { Fault } from "../../lib/fault.ts";
import type { Log } from "../../lib/log.ts";
import { isPassing } from "../model/states.ts";
import type { BriefContainer } from "../store/containers.ts";
import type { Store } from "../store/open-store.ts";
import { compareAddresses, stillReported, type WatchedAddresses } from "./addresses.ts";
import { keepAddresses, reportEnd, type ReportEndDeps, type WithdrawDeps } from "./check-container.ts";
import { mayStayPaused } from "./decide.ts";
import { type ContainerEngine, type InFlightOperations, isEngineTrouble } from "./engine.ts";
import type { Outages } from "./outages.ts";
import type { LifecycleLimits } from "./limits.ts";
import type { Moves } from "./moves.ts";
import type { ContainerUsage } from "./usage.ts";
import { containerKey, imageKey, SWEEP, type WorkQueue } from "./work-queue.ts";

export type FollowEventsDeps = RetryDeps &
  ReportEndDeps & {
    store: Pick<Store, "containers">;
    driver: Pick<Driver, "events">;
    outages: Outages;
    inFlight: Pick<InFlightOperations, "generation">;
    watched: Pick<WatchedAddresses, "connected" | "disconnected">;
    clock: Clock;
    limits: Pick<LifecycleLimits, "lookRetry">;
    random: () => number;
    log: Log;
  };

/**
 * Queues what the driver's events name, for as long as the signal lasts. Events are hints only: whatever is missed, the sweep finds. But an end takes the
 * container's addresses away before it is looked at.
 */
export async function followEvents(deps: FollowEventsDeps, signal: AbortSignal): Promise<void> {
  const { store, driver, outages, watched, inFlight, queue, clock, limits, random, log } = deps;
  for (let failures = 1; !signal.aborted; failures++) {
    try {
      for await (const event of driver.events({ signal })) {
        failures = 0;
        if (event.kind === "disconnected") {
          outages.began();
          watched.disconnected();
        } else if (event.kind === "connected") {
          outages.ended();
          watched.connected(event.watchedAddresses);
          await retryAfterOutage(deps);
          queue.add(SWEEP);
        } else if (!event.ended && inFlight.generation(containerKey(event.container)) !== undefined) {
          // The engine also reports what a start in progress does. The start itself ends with what the engine reports of it.
        } else if (await store.containers.find(event.container)) {
          if (event.ended) await reportEnd(deps, event.container, event.ended.instance);
          queue.add(containerKey(event.container));
        }
      }
    } catch (error) {
      if (!signal.aborted) log.warn({ err: error }, "driver events interrupted");
    }
    await clock.sleep(retryDelay(limits.lookRetry, Math.max(1, failures), random), signal).catch(() => {});
  }
}

type RetryDeps = {
  store: Pick<Store, "containers" | "transaction" | "afterCommit">;
  moves: Pick<Moves, "update">;
  queue: Pick<WorkQueue, "add">;
  outages: Pick<Outages, "explains">;
};

/** The engine works again: what failed with it may be tried at once, and that failure does not count. */
async function retryAfterOutage({ store, moves, queue, outages }: RetryDeps): Promise<void> {
  await store.transaction(async () => {
    for (const { id, since, fault } of await store.containers.triedLater()) {
      if (!isEngineTrouble(fault?.code) && !outages.explains(since)) continue;
      if (await moves.update(id, { attempts: 0, notBefore: 0 })) store.afterCommit(() => queue.add(containerKey(id)));
    }
  });
}

export type SweepDeps = ClockSkewDeps &
  WithdrawDeps & {
    store: Pick<Store, "id" | "containers" | "images" | "tombstones">;
    engine: Pick<ContainerEngine, "list">;
    inFlight: Pick<InFlightOperations, "generation">;
    limits: Pick<LifecycleLimits, "pausedMs">;
  };

/**
 * The resync: one list of what runs, compared with every row. Except for a clock that was set back, and addresses that are not where they were, it changes nothing itself: it queues what has to be inspected. So a lost
 * event costs at most the time between two of these. Faults: ENGINE_UNREACHABLE, ENGINE_FAILED.
 */
export async function sweep(deps: SweepDeps, signal: AbortSignal): Promise<Observed[]> {
  const { store, engine, inFlight, queue, clock, limits } = deps;
  await repairClockSkew(deps);
  for (const { id } of await store.images.unsettled()) queue.add(imageKey(id));
  for (const { id } of await store.tombstones.open()) queue.add(containerKey(id));
  const listedOn = clock.now();
  const list = await engine.list(signal);
  const own = new Map(list.filter(({ labels }) => labels.store === store.id).map((observed) => [observed.service, observed]));
  for (const row of await store.containers.atWork()) {
    const observed = own.get(row.service);
    // A start that is in progress, or waits for the engine, ends with what the engine reports of it.
    const isBusy = isPassing(row.state) && inFlight.generation(containerKey(row.id)) !== undefined;
    if (!isBusy && needsLook(row, observed)) {
      await withdrawUnlisted(deps, row, observed, listedOn);
      queue.add(containerKey(row.id));
    }
    own.delete(row.service);
  }
  const now = clock.now();
  for (const row of await store.containers.paused()) {
    if (mayStayPaused(row, own.get(row.service), now, limits)) own.delete(row.service);
    else queue.add(containerKey(row.id));
  }
  // Of those that are stopped, which are not read, one that runs or is paused all the same.
  for (const { service, running, paused } of own.values()) {
    const row = running || paused ? await store.containers.byService(service) : undefined;
    if (row) queue.add(containerKey(row.id));
  }
  return list;
}

/** Addresses that the list does not have may be another's, so nothing is sent there until the container was inspected. */
async function withdrawUnlisted(deps: SweepDeps, row: BriefContainer, observed: Observed | undefined, listedOn: number): Promise<void> {
  const { store } = deps;
  const listed = ({ state, since, addresses }: BriefContainer) => {
    // What started after the list was requested may not be in it yet.
    if (state !== "STARTED" || since >= listedOn) return addresses;
    return observed?.running ? stillReported(observed, addresses) : [];
  };
  if (listed(row).length === row.addresses.length) return;
  await store.transaction(async () => {
    const now = await store.containers.find(row.id);
    if (now) await keepAddresses(deps, now, listed(now));
  });
}

/** True where the row is in a passing state, or differs from the observed state. */
function needsLook(row: BriefContainer, observed: Observed | undefined): boolean {
  if (isPassing(row.state)) return true;
  if (row.state === "ERROR")
    return observed?.running === true || observed?.paused === true || row.desiredInstances === 0 || isEngineTrouble(row.fault?.code);
  if (row.state !== "STARTED") return observed?.running === true || row.desiredInstances === 1;
  // Its definition left its package and nothing was queued: the process died, or the store refused the next write.
  if (row.desiredInstances === 0) return true;
  if (!observed?.running || observed.labels.generation !== row.generation) return true;
  return compareAddresses(observed, row.addresses) !== "same";
}

type ClockSkewDeps = {
  store: Pick<Store, "containers" | "images" | "transaction" | "afterCommit">;
  moves: Pick<Moves, "update">;
  queue: Pick<WorkQueue, "add">;
  usage: Pick<ContainerUsage, "repairClockSkew">;
  outages: Pick<Outages, "repairClockSkew">;
  clock: Pick<Clock, "now">;
  limits: Pick<LifecycleLimits, "startRetry">;
};

/**
 * Repairs rows with a time in the future: the clock was set back since. What waits in them counts from now, and not from when that time comes again, which
 * may be hours.
 */
async function repairClockSkew({ store, moves, queue, usage, outages, clock, limits }: ClockSkewDeps): Promise<void> {
  outages.repairClockSkew();
  for (const id of usage.repairClockSkew()) queue.add(containerKey(id));
  const now = clock.now();
  const latest = now + limits.startRetry.longestMs;
  const look = (key: string) => store.afterCommit(() => queue.add(key));
  await store.transaction(async () => {
    for (const { id } of await store.images.ofTheFuture(now)) {
      await store.images.update(id, { since: now });
      look(imageKey(id));
    }
    for (const { id, state, since, lastActive, notBefore, runningSince = 0 } of await store.containers.ofTheFuture(now, latest)) {
      const waits = since > now && (isPassing(state) || state === "STARTED");
      if (!waits && lastActive <= now && notBefore <= latest) continue;
      await moves.update(id, {
        ...(waits ? { since: now } : {}),
        ...(lastActive > now ? { lastActive: now } : {}),
        ...(runningSince > now ? { runningSince: now } : {}),
        ...(notBefore > latest ? { notBefore: now } : {}),
      });
      look(containerKey(id));
    }
  });
}

export type Orphan = { observed: Observed; why: "removed" | "unknown id" | "another store" | "another name" };

export type OrphanDeps = {
  store: Pick<Store, "id" | "containers" | "tombstones">;
  engine: Pick<ContainerEngine, "list" | "destroy">;
  queue: Pick<WorkQueue, "add">;
};

/**
 * What runs with berth's labels and belongs to no row. Only what this store created and removed is ended; the
 * rest is for a person to decide, since an empty or restored store proves nothing.
 */
export async function orphansAmong({ store }: Pick<OrphanDeps, "store">, list: readonly Observed[]): Promise<Orphan[]> {
  const orphans: Orphan[] = [];
  for (let from = 0; from < list.length; from += LOOKED_UP) {
    const page = list.slice(from, from + LOOKED_UP);
    const services = await store.containers.servicesOf(page.map(({ labels }) => labels.container));
    for (const observed of page) {
      const why = await whyOrphan(store, observed, services.get(observed.labels.container));
      if (why !== undefined) orphans.push({ observed, why });
    }
  }
  return orphans;
}

/** Containers in one statement. */
const LOOKED_UP = 1_000;

/** `own`: the service of the row with its id. */
async function whyOrphan(store: OrphanDeps["store"], { labels, service }: Observed, own: string | undefined): Promise<Orphan["why"] | undefined> {
  if (labels.store !== store.id) return "another store";
  // Its container runs, or is stopped, under the name of the row: this is a second one, of before a rename.
  if (own !== undefined) return own === service ? undefined : "another name";
  return (await store.tombstones.find(labels.container)) ? "removed" : "unknown id";
}

/** Ends what was removed and runs all the same; returns the rest. */
export async function clearOrphans({ store, queue }: OrphanDeps, orphans: readonly Orphan[]): Promise<Orphan[]> {
  for (const { observed, why } of orphans) {
    if (why !== "removed") continue;
    await store.tombstones.reopen(observed.labels.container, observed.service);
    queue.add(containerKey(observed.labels.container));
  }
  return orphans.filter(({ why }) => why !== "removed");
}

/** Lists the engine now. What was removed is not among them: it is ended without a request. */
export async function findOrphans(deps: OrphanDeps, signal: AbortSignal): Promise<Orphan[]> {
  return (await orphansAmong(deps, await deps.engine.list(signal))).filter(({ why }) => why !== "removed");
}

/** Ends what a person has decided on, after making sure that it is (still) an orphan. */
export async function removeOrphan(deps: OrphanDeps, service: string, signal: AbortSignal): Promise<void> {
  const orphan = (await findOrphans(deps, signal)).find(({ observed }) => observed.service === service);
  if (orphan === undefined) throw new Fault("REQUEST_INVALID", `There is no orphan with the name ${service}.`);
  const { container: id, store } = orphan.observed.labels;
  await deps.engine.destroy({ id, service, store }, signal);
}
