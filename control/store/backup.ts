import Sqlite, { type Database } from "better-sqlite3";
import { randomUUID } from "node:crypto";
import { existsSync, readdirSync, readFileSync, renameSync, rmSync, statSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import type { Clock } from "../../lib/clock.ts";
import { Fault } from "../../lib/fault.ts";
import { flushToDisk, replaceFile } from "../../lib/replace-file.ts";
import { GATEWAY_TOKEN_FILE } from "../../gateway/contract.ts";
import { checkIntegrity } from "./check-integrity.ts";
import { privateFile } from "./data-folder.ts";
import { USED_FOLDERS } from "./published-files.ts";
import { storeFault } from "./store-fault.ts";

/**
 * A backup is a database: the store's tables as they were at one moment, and with them, in tables that `restore` takes out again, what else belongs
 * to it. `sqlite3` opens it. No key is in it: not that of the credentials, which are sealed, nor the first user's. The token of gateways on other
 * machines is, since each of them would need a new one else.
 */
export const BACKUP_TABLES = ["backup_about", "backup_files"] as const;

/** The tables that only a backup has. */
export const BACKUP_CONTENT = `
  CREATE TABLE backup_about (made_on INTEGER NOT NULL, version TEXT NOT NULL) STRICT;
  CREATE TABLE backup_files (path TEXT PRIMARY KEY, mode INTEGER NOT NULL, bytes BLOB NOT NULL) STRICT;
`;

/** Below the data folder: the path of the newest backup, for a person whose store is damaged. */
const NEWEST_FILE = "newest-backup";

/** A publish that replaces files while they are copied makes one attempt worthless; so many in a row are no accident. */
const ATTEMPTS = 3;

type From = { folder: string; version: string; clock: Clock };

/** `isDamaged`: also of a store in which SQLite finds damage, to rescue what is left. */
type Into = { file: string; isNewest?: boolean; isDamaged?: boolean };

/**
 * Writes all of the store in `folder` to `file`, which must not be there, while its berth runs or does not. One that is there is whole, for this
 * user only, and on the disk. Faults: BACKUP_UNUSABLE where it cannot be written; DATA_FOLDER_UNUSABLE where there is no store, or a damaged one, with the newest backup: it is
 * checked first, since a copy would carry the damage on or hide it.
 */
export function backUp(from: From & Into): { file: string; bytes: number } {
  const file = resolve(from.file);
  if (existsSync(file)) throw new Fault("BACKUP_UNUSABLE", `${file} is there already: a backup replaces nothing.`);
  const source = join(from.folder, "berth.db");
  // A restore that was refused leaves an empty file.
  if (!existsSync(source) || statSync(source).size === 0)
    throw new Fault("DATA_FOLDER_UNUSABLE", `There is no store in ${from.folder}: BERTH_DATA names the data folder.`);
  if (from.isDamaged !== true) refuseDamage(from.folder);
  const aside = `${file}.${randomUUID()}`;
  try {
    for (let left = ATTEMPTS; !copyOnce(from, source, aside); left--) {
      if (left === 1) throw new Fault("BACKUP_UNUSABLE", "Published files changed each time they were copied: try again.");
    }
    renameSync(aside, file);
    flushToDisk(dirname(file));
  } catch (error) {
    if (error instanceof Fault) throw error;
    throw new Fault("BACKUP_UNUSABLE", `The backup ${file} cannot be written: ${(error as Error).message}.`, { cause: error });
  } finally {
    for (const end of ["", "-journal"]) rmSync(aside + end, { force: true });
  }
  if (from.isNewest ?? from.isDamaged !== true) rememberBackup(from.folder, file);
  return { file, bytes: statSync(file).size };
}

function refuseDamage(folder: string): void {
  const damage = checkIntegrity(folder);
  if (damage.length === 0) return;
  const newest = newestBackup(folder);
  const next =
    newest === undefined ? "No backup of it is known." : `Its newest backup is ${newest}: stop berth, and \`berth restore ${newest}\` takes it.`;
  throw new Fault("DATA_FOLDER_UNUSABLE", `The store is damaged, so it is not backed up (${folder}, ${damage.join("; ")}). ${next}`);
}

/** False where files went away that the copied tables name. Files never change, so that those which are there are the right ones. */
function copyOnce({ folder, version, clock }: From, source: string, target: string): boolean {
  rmSync(target, { force: true });
  privateFile(target);
  // Not `readonly`: a store whose berth was killed has to be brought to rest first.
  const store = new Sqlite(source, { fileMustExist: true });
  try {
    // As one reader sees it: who writes meanwhile does not wait, nor does this.
    store.prepare("VACUUM INTO ?").run(target);
  } catch (error) {
    const fault = storeFault(error, folder);
    throw fault instanceof Fault && fault.code === "DATA_FOLDER_UNUSABLE" ? fault : error;
  } finally {
    store.close();
  }
  const copy = new Sqlite(target);
  try {
    copy.exec(BACKUP_CONTENT);
    copy.prepare("INSERT INTO backup_about VALUES (?, ?)").run(Math.trunc(clock.now()), version);
    return copy.transaction(() => addFiles(copy, folder))();
  } finally {
    copy.close();
    flushToDisk(target);
  }
}

function addFiles(copy: Database, folder: string): boolean {
  const insert = copy.prepare("INSERT OR IGNORE INTO backup_files VALUES (?, ?, ?)");
  for (const { files, isRequired } of foldersIn(copy)) {
    if (!existsSync(join(folder, files))) {
      if (!isRequired) continue;
      return false;
    }
    try {
      for (const one of readdirSync(join(folder, files), { recursive: true, withFileTypes: true })) {
        const path = join(one.parentPath, one.name);
        if (one.isFile()) insert.run(relative(folder, path), statSync(path).mode & 0o777, readFileSync(path));
      }
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return false;
      throw error;
    }
  }
  const token = join(folder, GATEWAY_TOKEN_FILE);
  if (existsSync(token)) insert.run(GATEWAY_TOKEN_FILE, 0o600, readFileSync(token));
  return true;
}

/** `isRequired`: an image is run from it. Other folders may be gone, with a deleted image or by a backup that did not have them. */
function foldersIn(copy: Database): { files: string; isRequired: boolean }[] {
  // A store of an older berth, which has not started since its update.
  const hasVersions = copy.prepare("SELECT 1 FROM sqlite_schema WHERE name = 'version_folders'").get() !== undefined;
  const required = new Set(copy.prepare("SELECT files FROM images WHERE state <> 'DELETED'").pluck().all() as string[]);
  const used = copy
    .prepare(hasVersions ? USED_FOLDERS : "SELECT DISTINCT files FROM images WHERE files <> ''")
    .pluck()
    .all() as string[];
  return used.map((files) => ({ files, isRequired: required.has(files) }));
}

/** Only a hint: a backup that is made is made. Where another user makes it, root mostly, the folder's owner has to be able to read it. */
export function rememberBackup(folder: string, file: string): void {
  try {
    replaceFile(join(folder, NEWEST_FILE), `${file}\n`, { mode: 0o600, ownedByFolder: true });
  } catch {
    // The folder may be read only.
  }
}

/** When the newest backup of this folder's store was made, wherever it is now; epoch ms. */
export function newestBackupOn(folder: string): number | undefined {
  return statSync(join(folder, NEWEST_FILE), { throwIfNoEntry: false })?.mtimeMs;
}

/** The newest backup of this folder's store, if it is still where it was put. */
export function newestBackup(folder: string): string | undefined {
  try {
    const file = readFileSync(join(folder, NEWEST_FILE), "utf8").trim();
    return existsSync(file) ? file : undefined;
  } catch {
    return undefined;
  }
}
