import type { Observed } from "../../drivers/driver.ts";
import { Fault } from "../../lib/fault.ts";
import { drive } from "./call-driver.ts";
import { containerKey, type Rooms } from "./rooms.ts";
import { listAll } from "./sweep.ts";

export type Orphan = { fact: Observed; why: "removed" | "unknown id" | "another store" | "another name" };

/**
 * What runs with berth's labels and belongs to no row. Only what this store issued and removed is taken away; the
 * rest is for a person to judge, since an empty or restored store proves nothing.
 */
export function orphansAmong(rooms: Pick<Rooms, "store">, facts: readonly Observed[]): Orphan[] {
  return facts.flatMap((fact): Orphan[] => {
    if (fact.labels.store !== rooms.store.id) return [{ fact, why: "another store" }];
    const row = rooms.store.containers.find(fact.labels.container);
    // Its container runs, or rests, under the name that the row says: this is a second one, of before a rename.
    if (row) return row.service === fact.service ? [] : [{ fact, why: "another name" }];
    return [{ fact, why: rooms.store.tombstones.find(fact.labels.container) ? "removed" : "unknown id" }];
  });
}

/** Takes away what was removed and runs all the same; returns the rest. */
export function clearOrphans(rooms: Rooms, orphans: readonly Orphan[]): Orphan[] {
  for (const { fact, why } of orphans) {
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
  if (!orphans.some(({ fact }) => fact.service === service)) throw new Fault("REQUEST_INVALID", `There is no orphan with the name ${service}.`);
  const overdue = () => new Fault("ENGINE_UNREACHABLE", `The container engine did not remove ${service} in time.`);
  await drive({ clock: rooms.clock, ms: rooms.limits.statusMs, overdue, signal }, (call) => rooms.driver.destroy(service, { signal: call }));
}
