import type { Observed } from "../../drivers/driver.ts";
import { Fault } from "../../lib/fault.ts";
import type { BriefContainer } from "../store/containers.ts";
import { doubt } from "./suspect-address.ts";
import { drive } from "./call-driver.ts";
import { isEngineTrouble } from "./failures.ts";
import { isWhere } from "./keep-container.ts";
import { isPassing } from "./deadlines.ts";
import { mayStayPaused } from "./pause-container.ts";
import { containerKey, imageKey, type Rooms } from "./rooms.ts";
import { setBack } from "./clock-skew.ts";

/**
 * The resync: one list of what runs, held against every row. But for a clock that was set back, and addresses that are not where they were, it changes nothing itself, it only queues what has to be inspected, so a lost
 * event costs at most the time between two of these. Faults: ENGINE_UNREACHABLE, ENGINE_FAILED.
 */
export async function sweep(rooms: Rooms, signal: AbortSignal): Promise<Observed[]> {
  setBack(rooms);
  for (const { id } of rooms.store.images.unsettled()) rooms.queue.add(imageKey(id));
  for (const { id } of rooms.store.tombstones.open()) rooms.queue.add(containerKey(id));
  const listedOn = rooms.clock.now();
  const facts = await listAll(rooms, signal);
  const own = new Map(facts.filter(({ labels }) => labels.store === rooms.store.id).map((fact) => [fact.service, fact]));
  for (const row of rooms.store.containers.atWork()) {
    const fact = own.get(row.service);
    if (wantsLook(row, fact)) {
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
  return drive({ clock, ms: limits.callMs, overdue, signal }, (call) => driver.list({ signal: call }));
}

/** Of one that the list does not have where the row has it, the address may be another's: it is sent nothing until it was looked at. */
function withdraw(rooms: Rooms, { id, state, since, address }: BriefContainer, fact: Observed | undefined, listedOn: number): void {
  // What started while the list was on its way is not in it yet.
  if (state !== "STARTED" || address === undefined || since >= listedOn || (fact?.running && isWhere(fact, address))) return;
  const row = rooms.store.containers.find(id);
  if (row?.state === "STARTED") doubt(rooms, row, {});
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
