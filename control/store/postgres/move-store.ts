import Sqlite, { type Database as SqliteDatabase } from "better-sqlite3";
import { randomUUID } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import type { PoolClient } from "pg";
import type { Clock } from "../../../lib/clock.ts";
import { Fault } from "../../../lib/fault.ts";
import { flushToDisk, replaceFile } from "../../../lib/replace-file.ts";
import { BACKUP_CONTENT, rememberBackup } from "../backup.ts";
import { GATEWAY_TOKEN_FILE } from "../../../gateway/contract.ts";
import { openDataFolder, privateFile } from "../data-folder.ts";
import { PART_BYTES, USED_FOLDERS } from "../published-files.ts";
import { checkBackupFile, copyBackup, endTokens, filesOfBackup } from "../restore.ts";
import { migrate } from "../schema.ts";
import { parsePostgresAddress, type PostgresOptions } from "./address.ts";
import { beginExclusive, beginSnapshot, clearTables, COPIED, copyRowsToPostgres, copyRowsToSqlite, insertRows, verifyCopy } from "./copy.ts";
import { postgresFault } from "./fault.ts";
import { openPostgresPool, type PostgresPool, release } from "./pool.ts";
import { migratePostgres } from "./schema.ts";

type MoveDeps = { folder: string; postgres: PostgresOptions; clock: Clock };
export type CopiedCounts = { rows: number; files: number };

/** Published files lie in rows of one store, and in the data folder of the other. */
const WITHOUT_FILES = COPIED.filter(({ table }) => table !== "published_files");
/** In a backup and in a data folder these are files. */
const OF_A_FOLDER = WITHOUT_FILES.filter(({ table }) => table !== "shared_texts");

/**
 * Copies the store of the data folder into an empty database, with its published files, and compares all rows. berth must not run. Faults: DATA_FOLDER_IN_USE,
 * BACKUP_UNUSABLE if the database has a store already or the copy differs, STORE_UNAVAILABLE, SETTINGS_INVALID.
 */
export async function copyToPostgres({ folder, postgres, clock }: MoveDeps): Promise<CopiedCounts> {
  if ((statSync(join(folder, "berth.db"), { throwIfNoEntry: false })?.size ?? 0) === 0)
    throw new Fault("DATA_FOLDER_UNUSABLE", `There is no store in ${folder}: BERTH_DATA names the data folder.`);
  const held = openDataFolder(folder);
  const sqlite = new Sqlite(held.file);
  try {
    migrate(sqlite);
    return await onDatabase({ postgres, clock }, async (client) => {
      await beginExclusive(client);
      await refuseFilled(client);
      const rows = await copyRowsToPostgres(sqlite, client, { tables: OF_A_FOLDER });
      const files = await insertFiles(client, filesOfFolder(sqlite, folder));
      await verifyCopy(sqlite, client, { tables: OF_A_FOLDER });
      await client.query("COMMIT");
      return { rows, files };
    });
  } finally {
    sqlite.close();
    held.close();
  }
}

/** Copies the store of a database into a data folder without one. No control process may lead. Faults: as `copyToPostgres`. */
export async function copyFromPostgres({ folder, postgres, clock }: MoveDeps): Promise<CopiedCounts> {
  const held = openDataFolder(folder);
  const draft = join(folder, "copying.db");
  discard(draft);
  try {
    if (statSync(held.file).size > 0) throw new Fault("BACKUP_UNUSABLE", `${folder} has a store already: copy into an empty data folder.`);
    privateFile(draft);
    const sqlite = new Sqlite(draft);
    try {
      migrate(sqlite);
      return await onDatabase({ postgres, clock }, async (client) => {
        await refuseLed(client);
        await beginSnapshot(client);
        const rows = await copyRowsToSqlite(client, sqlite, { tables: OF_A_FOLDER });
        await verifyCopy(sqlite, client, { tables: OF_A_FOLDER });
        let files = 0;
        for await (const { path, mode, bytes } of filesOfDatabase(client)) {
          const target = resolve(folder, path);
          mkdirSync(dirname(target), { recursive: true, mode: 0o700 });
          replaceFile(target, bytes, { mode: mode & 0o700 });
          files++;
        }
        sqlite.close();
        flushToDisk(draft);
        renameSync(draft, held.file);
        flushToDisk(folder);
        return { rows, files };
      });
    } finally {
      sqlite.close();
    }
  } finally {
    discard(draft);
    held.close();
  }
}

/** `backUp` for a store in PostgreSQL: the same file, of one moment of the database, while berth runs. Faults: BACKUP_UNUSABLE, STORE_UNAVAILABLE. */
export async function backUpPostgres(options: MoveDeps & { file: string; version: string }): Promise<{ file: string; bytes: number }> {
  const { folder, postgres, version, clock } = options;
  const file = resolve(options.file);
  if (existsSync(file)) throw new Fault("BACKUP_UNUSABLE", `${file} is there already: a backup replaces nothing.`);
  const draft = `${file}.${randomUUID()}`;
  try {
    privateFile(draft);
    const sqlite = new Sqlite(draft);
    try {
      migrate(sqlite);
      await onDatabase({ postgres, clock }, async (client) => {
        await beginSnapshot(client);
        await copyRowsToSqlite(client, sqlite, { tables: OF_A_FOLDER });
        sqlite.exec(BACKUP_CONTENT);
        sqlite.prepare("INSERT INTO backup_about VALUES (?, ?)").run(Math.trunc(clock.now()), version);
        const insert = sqlite.prepare("INSERT INTO backup_files VALUES (?, ?, ?)");
        for await (const { path, mode, bytes } of filesOfDatabase(client)) insert.run(path, mode, bytes);
      });
    } finally {
      sqlite.close();
    }
    flushToDisk(draft);
    renameSync(draft, file);
    flushToDisk(dirname(file));
  } catch (error) {
    if (error instanceof Fault) throw error;
    throw new Fault("BACKUP_UNUSABLE", `The backup ${file} cannot be written: ${(error as Error).message}.`, { cause: error });
  } finally {
    discard(draft);
  }
  if (existsSync(folder)) rememberBackup(folder, file);
  return { file, bytes: statSync(file).size };
}

/**
 * `restore` for a store in PostgreSQL: what was there is kept as a backup in the data folder, then all is replaced in one transaction. No control process may
 * lead. Faults: as `restore`; STORE_UNAVAILABLE.
 */
export async function restorePostgres(options: MoveDeps & { file: string; version: string }): Promise<{ madeOn: number; kept: string | undefined }> {
  const { folder, postgres, version, clock } = options;
  const file = resolve(options.file);
  if (!existsSync(file)) throw new Fault("BACKUP_UNUSABLE", `There is no backup ${file}.`);
  const held = openDataFolder(folder);
  const draft = join(folder, "restoring.db");
  discard(draft);
  try {
    privateFile(draft);
    copyBackup(file, draft);
    const sqlite = new Sqlite(draft);
    try {
      const madeOn = checkBackupFile(sqlite, file);
      migrate(sqlite);
      endTokens(sqlite);
      const kept = join(folder, `before-restore-${new Date(clock.now()).toISOString().replaceAll(/[:.]/g, "-")}-${randomUUID().slice(0, 8)}.db`);
      const isFilled = await onDatabase({ postgres, clock }, async (client) => {
        await refuseLed(client);
        return hasUsers(client);
      });
      if (isFilled) await backUpPostgres({ folder, postgres, version, clock, file: kept });
      await onDatabase({ postgres, clock }, async (client) => {
        await beginExclusive(client);
        await refuseLed(client);
        await clearTables(client);
        await copyRowsToPostgres(sqlite, client, { tables: OF_A_FOLDER });
        await insertFiles(client, filesOfBackup(sqlite));
        await client.query("COMMIT");
      });
      return { madeOn, kept: isFilled ? kept : undefined };
    } finally {
      sqlite.close();
    }
  } finally {
    discard(draft);
    held.close();
  }
}

type MovedFile = { path: string; mode: number; bytes: Uint8Array };

/** Of one statement: it may sort a large table, or wait for another program that reads what is replaced. */
const STATEMENT_MS = 600_000;

/** Runs `work` on one connection of an up-to-date store; a transaction that it left open is rolled back. */
async function onDatabase<R>({ postgres, clock }: Pick<MoveDeps, "postgres" | "clock">, work: (client: PoolClient) => Promise<R>): Promise<R> {
  const pool: PostgresPool = await openPostgresPool(parsePostgresAddress(postgres), { connections: 2, clock, statementMs: STATEMENT_MS });
  try {
    await migratePostgres(pool);
    const client = await pool.take(async () => undefined);
    let isDone = false;
    try {
      const result = await work(client);
      await client.query("ROLLBACK");
      isDone = true;
      return result;
    } catch (error) {
      throw postgresFault(error, pool.name);
    } finally {
      release(client, !isDone);
    }
  } finally {
    await pool.close();
  }
}

async function hasUsers(client: PoolClient): Promise<boolean> {
  return (await client.query("SELECT 1 FROM users LIMIT 1")).rows.length > 0;
}

async function refuseFilled(client: PoolClient): Promise<void> {
  if (await hasUsers(client)) throw new Fault("BACKUP_UNUSABLE", "The database has a store already: copy into an empty database.");
  await clearTables(client);
}

/** What a control process that leads would still write is lost, or would meet another store. */
async function refuseLed(client: PoolClient): Promise<void> {
  const { rows: tables } = await client.query<{ leadership: string | null }>("SELECT to_regclass('leadership')::text AS leadership");
  if ((tables[0]?.leadership ?? null) === null) return;
  const { rows } = await client.query("SELECT 1 FROM leadership WHERE expires_at > clock_timestamp()");
  if (rows.length > 0) throw new Fault("DATA_FOLDER_IN_USE", "A control process leads on this database: stop all of them first.");
}

/** Files in parts, as `createPublishedFiles` stores them; the gateways' token is a text. */
async function insertFiles(client: PoolClient, files: Iterable<MovedFile>): Promise<number> {
  let count = 0;
  for (const { path, mode, bytes } of files) {
    count++;
    if (path === GATEWAY_TOKEN_FILE) {
      await insertRows(client, "shared_texts", ["name", "text"], [{ name: path, text: Buffer.from(bytes).toString("utf8") }]);
      continue;
    }
    const folder = versionFolder(path);
    for (let part = 0; part === 0 || part * PART_BYTES < bytes.length; part++) {
      const row = { folder, path: relative(folder, path), part, mode, bytes: bytes.subarray(part * PART_BYTES, (part + 1) * PART_BYTES) };
      await insertRows(client, "published_files", ["folder", "path", "part", "mode", "bytes"], [row]);
    }
  }
  return count;
}

/** `packages/<package id>/<folder>/<hash>`, of a file in it: the hash is the first of these names that is one. */
function versionFolder(path: string): string {
  return /^packages\/[^/]+\/(?:[^/]+\/)*?[0-9a-f]{64}(?=\/)/.exec(path)?.[0] ?? dirname(path);
}

const PART = "SELECT bytes FROM published_files WHERE folder = $1 AND path = $2 AND part = $3";

/** One file at a time, in memory once: a package may have 256 MB. */
async function* filesOfDatabase(client: PoolClient): AsyncGenerator<MovedFile> {
  const { rows: token } = await client.query<{ text: string }>("SELECT text FROM shared_texts WHERE name = $1", [GATEWAY_TOKEN_FILE]);
  if (token[0]) yield { path: GATEWAY_TOKEN_FILE, mode: 0o600, bytes: Buffer.from(token[0].text) };
  const { rows: files } = await client.query<{ folder: string; path: string; mode: number; parts: number; size: number }>(
    `SELECT folder, path, max(mode)::int AS mode, count(*)::int AS parts, sum(length(bytes))::float8 AS size FROM published_files
      WHERE folder IN (${USED_FOLDERS}) GROUP BY folder, path ORDER BY folder, path`,
  );
  for (const { folder, path, mode, parts, size } of files) {
    const whole = join(folder, path);
    if (!whole.startsWith("packages/")) throw new Fault("BACKUP_UNUSABLE", `The database holds a file that is no published one: ${whole}.`);
    const bytes = Buffer.allocUnsafe(size);
    for (let part = 0, at = 0; part < parts; part++) {
      const { rows } = await client.query<{ bytes: Buffer }>(PART, [folder, path, part]);
      at += rows[0]?.bytes.copy(bytes, at) ?? 0;
    }
    yield { path: whole, mode, bytes };
  }
}

function* filesOfFolder(sqlite: SqliteDatabase, folder: string): Generator<MovedFile> {
  const token = join(folder, GATEWAY_TOKEN_FILE);
  if (existsSync(token)) yield { path: GATEWAY_TOKEN_FILE, mode: 0o600, bytes: readFileSync(token) };
  const named = sqlite.prepare(USED_FOLDERS).pluck().all() as string[];
  for (const files of named) {
    if (!existsSync(join(folder, files))) continue;
    for (const one of readdirSync(join(folder, files), { recursive: true, withFileTypes: true })) {
      const path = join(one.parentPath, one.name);
      if (one.isFile()) yield { path: relative(folder, path), mode: statSync(path).mode & 0o777, bytes: readFileSync(path) };
    }
  }
}

function discard(database: string): void {
  for (const end of ["", "-wal", "-shm", "-journal"]) rmSync(database + end, { force: true });
}
