import Sqlite from "better-sqlite3";
import { chmodSync, closeSync, openSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { Fault } from "../../lib/fault.ts";
import { storeFault } from "./store-fault.ts";
import { makeFolder } from "../../lib/make-folder.ts";
import { replaceFile } from "../../lib/replace-file.ts";

/** Below the data folder. */
export const LOCK_FILE = "berth.lock";

export type DataFolder = { file: string; close(): void };

/**
 * Makes the data folder usable and ours alone: 0700, its files 0600, and a lock that a second berth meets. The lock is an
 * open transaction on a database of its own, so the kernel drops it with the process, however that ends.
 * Faults: DATA_FOLDER_UNUSABLE, DATA_FOLDER_IN_USE, STORE_READ_ONLY, STORE_FULL.
 */
export function openDataFolder(folder: string): DataFolder {
  try {
    makeFolder(folder);
    chmodSync(folder, 0o700);
    const file = privateFile(join(folder, "berth.db"));
    return { file, close: lock(privateFile(join(folder, LOCK_FILE)), folder) };
  } catch (error) {
    const fault = storeFault(error, folder);
    if (fault instanceof Fault) throw fault;
    throw new Fault("DATA_FOLDER_UNUSABLE", `The data folder cannot be used: ${error instanceof Error ? error.message : String(error)}.`, {
      cause: error,
    });
  }
}

/** SQLite gives its journals the mode of the database, so making that first covers them. */
export function privateFile(path: string): string {
  closeSync(openSync(path, "a", 0o600));
  chmodSync(path, 0o600);
  return path;
}

/** The lock of `folder`, held by `file` until it is closed. Faults: DATA_FOLDER_IN_USE. */
export function lock(file: string, folder: string): () => void {
  const database = new Sqlite(file, { timeout: 0 });
  try {
    database.exec("BEGIN EXCLUSIVE");
  } catch (error) {
    database.close();
    const fault = storeFault(error, folder);
    if (fault instanceof Fault && fault.code === "DATA_FOLDER_IN_USE") {
      throw new Fault("DATA_FOLDER_IN_USE", `Another berth uses the data folder ${folder}.`, { cause: error });
    }
    throw fault;
  }
  return () => database.close();
}

/** A store that lost what a gateway had seen already: revisions of both, and when control noticed it, in epoch ms. */
export type StoreRollback = { at: number; seen: number; found: number };

/** Below the data folder. It stays until an administrator removes it. */
export const ROLLBACK_FILE = "store-rollback.json";

/** Only a note for `berth doctor`: the log has it, and a folder that cannot be written has other problems. */
export function noteRollback(folder: string, rollback: StoreRollback): void {
  try {
    replaceFile(join(folder, ROLLBACK_FILE), `${JSON.stringify(rollback)}\n`, { mode: 0o600 });
  } catch {
    // As above.
  }
}

export function readRollback(folder: string): StoreRollback | undefined {
  try {
    return JSON.parse(readFileSync(join(folder, ROLLBACK_FILE), "utf8")) as StoreRollback;
  } catch {
    return undefined;
  }
}
