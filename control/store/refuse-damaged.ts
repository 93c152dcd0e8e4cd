import type { Database } from "better-sqlite3";
import { Fault } from "../../fault.ts";

/**
 * Found now, damage is one sentence; found later, it is some container's failure, and wishes were acknowledged meanwhile that a backup does not have.
 * A page's structure is looked at, not what indexes say of it: 10 000 containers take about 50 ms. Faults: DATA_FOLDER_UNUSABLE.
 */
export function refuseDamaged(database: Database, folder: string): void {
  const found = database.pragma("quick_check(1)", { simple: true });
  if (found === "ok") return;
  const what = String(found).replaceAll(/\s+/g, " ");
  throw new Fault("DATA_FOLDER_UNUSABLE", `The store is damaged, and a backup of it has to take its place (${folder}: ${what}).`);
}
