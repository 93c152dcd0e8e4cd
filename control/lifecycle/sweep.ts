import type { Observed } from "../../drivers/driver.ts";
import { Fault } from "../../lib/fault.ts";
import type { BriefContainer } from "../store/containers.ts";
import { suspectAddress } from "./suspect-address.ts";
import { callDriver } from "./call-driver.ts";
import { isEngineTrouble } from "./failures.ts";
import { isWhere } from "./keep-container.ts";
import { isPassing } from "./deadlines.ts";
import { mayStayPaused } from "./stop-container.ts";
import { containerKey, imageKey, type Rooms } from "./rooms.ts";
import { repairClockSkew } from "./clock-skew.ts";

/**
 * The resync: one list of what runs, held against every row. But for a clock that was set back, and addresses that are not where they were, it changes nothing itself, it only queues what has to be inspected, so a lost
 * event costs at most the time between two of these. Faults: ENGINE_UNREACHABLE, ENGINE_FAILED.
 */
export async function sweep(rooms: Rooms, signal: AbortSignal): Promise<Observed[]> {
  repairClockSkew(rooms);
  for (const { id } of rooms.store.images.unsettled()) rooms.queue.add(imageKey(id));
  for (const { id } of rooms.store.tombstones.open()) rooms.queue.add(containerKey(id));
  const listedOn = rooms.clock.now();
  const facts = await listAll(rooms, signal);
  const own = new Map(facts.filter(({ labels }) => labels.store === rooms.store.id).map((fact) => [fact.service, fact]));
  for (const row of rooms.store.containers.atWork()) {
    const fact = own.get(row.service);
    // A start that is under way, or waits for the engine, ends with what the engine reports of it.
    if (wantsLook(row, fact) && !(isPassing(row.state) && rooms.flights.generation(containerKey(row.id)) !== undefined)) {
      withdraw(rooms, row, fact, listedOn);
      rooms.queue.add(containerKey(row.id));
    }
    own.delete(row.service);
  }
  for (const row of rooms.store.containers.paused()) {
    const fact = own.get(row.service);
    if (mayStayPaused(rooms, row, fact)) own.delete(row.service);
    else rooms.queue.add(containerKey(row.id));
  }
  // Of those that rest, which are not read, one that runs or lies frozen all the same.
  for (const { service, running, paused } of own.values()) {
    const row = running || paused ? rooms.store.containers.byService(service) : undefined;
    if (row) rooms.queue.add(containerKey(row.id));
  }
  return facts;
}

/** Everything with berth's labels, whosever it is. Faults: ENGINE_UNREACHABLE, ENGINE_FAILED. */
export function listAll({ clock, limits, driver }: Rooms, signal: AbortSignal): Promise<Observed[]> {
  const overdue = () => new Fault("ENGINE_UNREACHABLE", `The container engine did not list its containers within ${limits.callMs / 1000} s.`);
  return callDriver({ clock, ms: limits.callMs, overdue, signal }, (call) => driver.list({ signal: call }));
}

/** Of one that the list does not have where the row has it, the address may be another's: it is sent nothing until it was looked at. */
function withdraw(rooms: Rooms, { id, state, since, address }: BriefContainer, fact: Observed | undefined, listedOn: number): void {
  // What started while the list was on its way is not in it yet.
  if (state !== "STARTED" || address === undefined || since >= listedOn || (fact?.running && isWhere(fact, address))) return;
  const row = rooms.store.containers.find(id);
  if (row?.state === "STARTED") suspectAddress(rooms, row, {});
}

/** True where the row is on its way, or says something else than the fact does. */
function wantsLook(row: BriefContainer, fact: Observed | undefined): boolean {
  if (isPassing(row.state)) return true;
  if (row.state === "ERROR") return fact?.running === true || fact?.paused === true || row.desiredInstances === 0 || isEngineTrouble(row.fault?.code);
  if (row.state !== "STARTED") return fact?.running === true || row.desiredInstances === 1;
  // Nobody was told that its definition left its package: the process died, or the store refused the next write.
  if (row.desiredInstances === 0) return true;
  if (!fact?.running || fact.labels.generation !== row.generation) return true;
  return row.address !== undefined && !isWhere(fact, row.address);
}

export type Orphan = { observed: Observed; why: "removed" | "unknown id" | "another store" | "another name" };

/**
 * What runs with berth's labels and belongs to no row. Only what this store issued and removed is taken away; the
 * rest is for a person to judge, since an empty or restored store proves nothing.
 */
export function orphansAmong(rooms: Pick<Rooms, "store">, facts: readonly Observed[]): Orphan[] {
  return facts.flatMap((fact): Orphan[] => {
    if (fact.labels.store !== rooms.store.id) return [{ observed: fact, why: "another store" }];
    const row = rooms.store.containers.find(fact.labels.container);
    // Its container runs, or rests, under the name that the row says: this is a second one, of before a rename.
    if (row) return row.service === fact.service ? [] : [{ observed: fact, why: "another name" }];
    return [{ observed: fact, why: rooms.store.tombstones.find(fact.labels.container) ? "removed" : "unknown id" }];
  });
}

/** Takes away what was removed and runs all the same; returns the rest. */
export function clearOrphans(rooms: Rooms, orphans: readonly Orphan[]): Orphan[] {
  for (const { observed: fact, why } of orphans) {
    if (why !== "removed") continue;
    rooms.store.tombstones.reopen(fact.labels.container, fact.service);
    rooms.queue.add(containerKey(fact.labels.container));
  }
  return orphans.filter(({ why }) => why !== "removed");
}

/** Asks the engine now. What was removed is not among them: it goes by itself. */
export async function findOrphans(rooms: Rooms, signal: AbortSignal): Promise<Orphan[]> {
  return orphansAmong(rooms, await listAll(rooms, signal)).filter(({ why }) => why !== "removed");
}

/** Takes away what a person has judged, after making sure that it is (still) an orphan. */
export async function removeOrphan(rooms: Rooms, service: string, signal: AbortSignal): Promise<void> {
  const orphans = await findOrphans(rooms, signal);
  if (!orphans.some(({ observed: fact }) => fact.service === service))
    throw new Fault("REQUEST_INVALID", `There is no orphan with the name ${service}.`);
  const overdue = () => new Fault("ENGINE_UNREACHABLE", `The container engine did not remove ${service} in time.`);
  await callDriver({ clock: rooms.clock, ms: rooms.limits.statusMs, overdue, signal }, (call) => rooms.driver.destroy(service, { signal: call }));
}
