import { Fault, type FaultCode } from "../../lib/fault.ts";

/** SQLite's result codes, and Node's for the folder itself, that say something about the machine rather than about berth. */
const MEANINGS: readonly (readonly [prefix: string, code: FaultCode, sentence: string])[] = [
  ["SQLITE_FULL", "STORE_FULL", "No space is left for the store"],
  ["ENOSPC", "STORE_FULL", "No space is left for the store"],
  ["EDQUOT", "STORE_FULL", "No space is left for the store"],
  ["SQLITE_READONLY", "STORE_READ_ONLY", "The store can be read but not written"],
  ["EROFS", "STORE_READ_ONLY", "The store can be read but not written"],
  ["SQLITE_IOERR", "DATA_FOLDER_UNUSABLE", "The disk could not read or write the store: check it and its file system, for example with dmesg"],
  ["SQLITE_CANTOPEN", "DATA_FOLDER_UNUSABLE", "The store cannot be opened"],
  ["SQLITE_CORRUPT", "DATA_FOLDER_UNUSABLE", "The store is damaged, and a backup of it has to take its place"],
  ["SQLITE_NOTADB", "DATA_FOLDER_UNUSABLE", "The store's file is not a database, and a backup of it has to take its place"],
  ["SQLITE_BUSY", "DATA_FOLDER_IN_USE", "Another program holds the store"],
];

/** The only place where errors of SQLite and of the data folder become faults; anything else is a bug and stays what it is. */
export function storeFault(error: unknown, folder: string): unknown {
  const code = error instanceof Error && "code" in error ? String(error.code) : "";
  const meaning = MEANINGS.find(([prefix]) => code.startsWith(prefix));
  if (!meaning) return error;
  return new Fault(meaning[1], `${meaning[2]} (${folder}, ${code}).`, { cause: error });
}

/** Reads or writes a file of the data folder beside the database. `name`: what it is. Faults: DATA_FOLDER_UNUSABLE, STORE_FULL, STORE_READ_ONLY. */
export function useDataFile<R>(folder: string, name: string, work: () => R): R {
  try {
    return work();
  } catch (error) {
    const fault = storeFault(error, folder);
    if (fault instanceof Fault) throw fault;
    throw new Fault("DATA_FOLDER_UNUSABLE", `${name} cannot be used: ${(error as Error).message}.`, { cause: error });
  }
}
