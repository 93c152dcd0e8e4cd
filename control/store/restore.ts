import Sqlite, { type Database } from "better-sqlite3";
import { randomUUID } from "node:crypto";
import { copyFileSync, existsSync, linkSync, mkdirSync, renameSync, rmSync, statSync } from "node:fs";
import { dirname, join, resolve, sep } from "node:path";
import type { Clock } from "../../lib/clock.ts";
import { Fault } from "../../lib/fault.ts";
import { flushToDisk, replaceFile } from "../../lib/replace-file.ts";
import { GATEWAY_TOKEN_FILE } from "../../gateway/contract.ts";
import { openDataFolder, privateFile } from "./data-folder.ts";
import { BACKUP_TABLES, backUp } from "./backup.ts";
import { knownVersion, migrate } from "./schema.ts";
import { storeFault } from "./store-fault.ts";

/** `kept` is where the store that was there before lies now; undefined where there was none. */
export type Restored = { madeOn: number; kept: string | undefined };

/**
 * Makes the store of a backup that of `folder`, whose berth must not run. The files that belong to it come first, which are only added; then the
 * store, in one step: a process that is killed in between leaves the old one. What was there is kept beside it, as a backup where it can still be read.
 * Who had signed in by then signs in again: the backup may be older than a sign-out. Faults: BACKUP_UNUSABLE for a file that is no backup, a damaged
 * one, or one of a newer berth; DATA_FOLDER_IN_USE; STORE_FULL, STORE_READ_ONLY, DATA_FOLDER_UNUSABLE.
 */
export function restore(options: { folder: string; file: string; version: string; clock: Clock }): Restored {
  const { folder, version, clock } = options;
  const file = resolve(options.file);
  if (!existsSync(file)) throw new Fault("BACKUP_UNUSABLE", `There is no backup ${file}.`);
  const owner = statSync(folder, { throwIfNoEntry: false })?.uid;
  if (owner !== undefined && owner !== process.getuid?.())
    throw new Fault(
      "BACKUP_UNUSABLE",
      `The data folder ${folder} belongs to another user (${owner}), who could not read what is restored: run this as that user.`,
    );
  const held = openDataFolder(folder);
  const passing = join(folder, "restoring.db");
  try {
    // All of it: the journal of a restore that was killed would be played into this one.
    discard(passing);
    privateFile(passing);
    copyBackup(file, passing);
    const madeOn = prepare(passing, folder, file);
    const kept = keep({ folder, version, clock }, held.file);
    // What the old one had not yet written into itself must not meet the new one.
    for (const end of ["-wal", "-shm"]) rmSync(held.file + end, { force: true });
    renameSync(passing, held.file);
    flushToDisk(folder);
    return { madeOn, kept };
  } catch (error) {
    throw storeFault(error, folder);
  } finally {
    discard(passing);
    held.close();
  }
}

/** Faults: BACKUP_UNUSABLE for a file that cannot be read, as a folder; STORE_FULL, STORE_READ_ONLY. */
export function copyBackup(file: string, to: string): void {
  try {
    copyFileSync(file, to);
  } catch (error) {
    const fault = storeFault(error, dirname(to));
    throw fault instanceof Fault
      ? fault
      : new Fault("BACKUP_UNUSABLE", `The backup ${file} cannot be read: ${(error as Error).message}.`, { cause: error });
  }
}

function discard(database: string): void {
  for (const end of ["", "-wal", "-shm", "-journal"]) rmSync(database + end, { force: true });
}

/** Of the copy of a backup it makes a store as it is to be, and puts its files in their places. Answers with when the backup was made, in epoch ms. */
function prepare(passing: string, folder: string, file: string): number {
  const database = new Sqlite(passing);
  try {
    const madeOn = checkBackupFile(database, file);
    for (const { path, mode, bytes } of filesOfBackup(database)) place(folder, path, mode, bytes);
    for (const table of BACKUP_TABLES) database.exec(`DROP TABLE ${table}`);
    migrate(database);
    endTokens(database);
    database.exec("VACUUM");
    return madeOn;
  } finally {
    database.close();
    flushToDisk(passing);
  }
}

/** Ends sessions and the tokens of CI jobs: the backup may be older than their end. */
export function endTokens(database: Database): void {
  database.exec("DELETE FROM sessions WHERE container_id IS NULL");
  // The rows stay: the identity tokens that they came from are not exchanged again.
  database.exec("UPDATE job_tokens SET expires_on = 0");
}

/** Returns when the backup was made, in epoch ms. Faults: BACKUP_UNUSABLE. */
export function checkBackupFile(database: Database, file: string): number {
  let damage: unknown;
  try {
    damage = database.pragma("integrity_check(1)", { simple: true });
  } catch (error) {
    damage = (error as Error).message;
  }
  if (damage !== "ok") throw new Fault("BACKUP_UNUSABLE", `The backup ${file} is damaged, or is none (${String(damage)}): take another one.`);
  const isBackup = database.prepare("SELECT count(*) AS n FROM sqlite_schema WHERE name IN (?, ?)").get(...BACKUP_TABLES) as { n: number };
  if (isBackup.n !== BACKUP_TABLES.length) throw new Fault("BACKUP_UNUSABLE", `${file} was not made by berth backup.`);
  try {
    knownVersion(database);
  } catch (cause) {
    throw new Fault("BACKUP_UNUSABLE", `The backup ${file} cannot be restored: ${(cause as Error).message}`, { cause });
  }
  const { made_on } = database.prepare("SELECT made_on FROM backup_about").get() as { made_on: number };
  return made_on;
}

type Packed = { path: string; mode: number; bytes: Buffer };

export function filesOfBackup(database: Database): IterableIterator<Packed> {
  return database.prepare("SELECT path, mode, bytes FROM backup_files ORDER BY path").iterate() as IterableIterator<Packed>;
}

/** A backup may have been in other hands: nothing of it goes anywhere else than where published files and the gateways' token lie. */
function place(folder: string, path: string, mode: number, bytes: Buffer): void {
  const target = resolve(folder, path);
  if (path !== GATEWAY_TOKEN_FILE && !target.startsWith(resolve(folder, "packages") + sep))
    throw new Fault("BACKUP_UNUSABLE", `The backup holds a file that is no published one: ${path}.`);
  // The path names the content; a token that is there is newer than that of the backup.
  if (existsSync(target)) return;
  mkdirSync(dirname(target), { recursive: true, mode: 0o700 });
  replaceFile(target, bytes, { mode: mode & 0o700 });
}

/** A store that is damaged is kept as it lies there, all of its files. */
function keep(from: { folder: string; version: string; clock: Clock }, store: string): string | undefined {
  const isNew = () => {
    const old = new Sqlite(store);
    try {
      return old.prepare("SELECT count(*) AS n FROM sqlite_schema").get() as { n: number };
    } finally {
      old.close();
    }
  };
  const at = new Date(from.clock.now()).toISOString().replaceAll(/[:.]/g, "-");
  const kept = join(from.folder, `before-restore-${at}-${randomUUID().slice(0, 8)}.db`);
  try {
    if (isNew().n === 0) return undefined;
    return backUp({ ...from, file: kept, isNewest: false }).file;
  } catch (error) {
    const fault = storeFault(error, from.folder);
    if (!(fault instanceof Fault) || !["DATA_FOLDER_UNUSABLE", "BACKUP_UNUSABLE"].includes(fault.code)) throw error;
    for (const end of ["", "-wal"]) if (existsSync(store + end)) linkSync(store + end, kept + end);
    return kept;
  }
}
