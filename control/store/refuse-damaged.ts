import type { Database } from "better-sqlite3";
import { Fault } from "../../lib/fault.ts";
import { newestBackup } from "./backup.ts";
import { storeFault } from "./store-fault.ts";

/**
 * Found now, damage is one sentence; found later, it is some container's failure, and requests were acknowledged meanwhile that a backup does not have.
 * Every page is read, some hundreds of megabytes in a second; 10 000 containers take about 50 ms. Faults: DATA_FOLDER_UNUSABLE, with the newest backup.
 */
export function refuseDamaged(database: Database, folder: string): void {
  try {
    const damage = String(database.pragma("quick_check(1)", { simple: true }));
    if (damage !== "ok") throw new Fault("DATA_FOLDER_UNUSABLE", `The store is damaged (${folder}, ${damage.replaceAll(/\s+/g, " ")}).`);
  } catch (error) {
    const fault = storeFault(error, folder);
    if (!(fault instanceof Fault) || fault.code !== "DATA_FOLDER_UNUSABLE") throw fault;
    const backup = newestBackup(folder);
    const next = backup === undefined ? "No backup of it is known." : `Its newest backup is ${backup}; \`berth restore ${backup}\` takes it.`;
    throw new Fault("DATA_FOLDER_UNUSABLE", `${fault.message} ${next}`, { cause: error });
  }
}
