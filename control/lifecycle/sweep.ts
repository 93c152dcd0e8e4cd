import type { Observed } from "../../drivers/driver.ts";
import { Fault } from "../../lib/fault.ts";
import { isPassing } from "../model/states.ts";
import type { BriefContainer } from "../store/containers.ts";
import type { Store } from "../store/open-store.ts";
import { isAt } from "./address-ownership.ts";
import { type ClockSkewDeps, repairClockSkew } from "./clock-skew.ts";
import type { ContainerEngine } from "./engine.ts";
import { isEngineTrouble } from "./failures.ts";
import { mayStayPaused } from "./idle-policy.ts";
import type { InFlightOperations } from "./in-flight-operations.ts";
import { containerKey, imageKey } from "./lanes.ts";
import type { LifecycleLimits } from "./limits.ts";
import type { SuspectAddress } from "./suspect-address.ts";
import type { WorkQueue } from "./work-queue.ts";

export type SweepDeps = ClockSkewDeps & {
  store: Pick<Store, "id" | "containers" | "images" | "tombstones">;
  engine: Pick<ContainerEngine, "list">;
  inFlight: Pick<InFlightOperations, "generation">;
  suspect: SuspectAddress;
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
      await withdrawAddress(deps, row, observed, listedOn);
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

/** The list does not have it where the row has it: the address may be another's, so nothing is sent to it until it was inspected. */
async function withdrawAddress({ store, suspect }: SweepDeps, row: BriefContainer, observed: Observed | undefined, listedOn: number): Promise<void> {
  if (!isElsewhere(row, observed, listedOn)) return;
  const now = await store.containers.find(row.id);
  if (now && isElsewhere(now, observed, listedOn)) await suspect(now);
}

/** What started after the list was requested may not be in it yet. */
function isElsewhere({ state, since, address }: BriefContainer, observed: Observed | undefined, listedOn: number): boolean {
  return state === "STARTED" && address !== undefined && since < listedOn && !(observed?.running && isAt(observed, address));
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
  return row.address !== undefined && !isAt(observed, row.address);
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
  for (const observed of list) {
    const why = await whyOrphan(store, observed);
    if (why !== undefined) orphans.push({ observed, why });
  }
  return orphans;
}

async function whyOrphan(store: OrphanDeps["store"], { labels, service }: Observed): Promise<Orphan["why"] | undefined> {
  if (labels.store !== store.id) return "another store";
  const row = await store.containers.find(labels.container);
  // Its container runs, or is stopped, under the name of the row: this is a second one, of before a rename.
  if (row) return row.service === service ? undefined : "another name";
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
  const orphans = await findOrphans(deps, signal);
  if (!orphans.some(({ observed }) => observed.service === service))
    throw new Fault("REQUEST_INVALID", `There is no orphan with the name ${service}.`);
  await deps.engine.destroy(service, signal);
}
