import Sqlite, { type Database as SqliteDatabase, type Statement as SqliteStatement } from "better-sqlite3";
import type { DatabaseConnection, DatabaseStatement } from "./database.ts";
import { storeFault } from "./store-fault.ts";

/** How long a statement waits for another program (a backup, `sqlite3`) that holds the database, in milliseconds. */
const BUSY_TIMEOUT_MS = 5_000;

/** Far more than there are texts in everyday use; filters can be combined in more ways than are worth keeping. */
const MOST_PREPARED = 500;

/** From so many pages in the log on, a commit also copies them into the database. SQLite's own default. */
const CHECKPOINT_PAGES = 1_000;

/** Opens the file for writing. `folder` is named in faults. */
export function openSqlite(file: string): SqliteDatabase {
  return new Sqlite(file, { timeout: BUSY_TIMEOUT_MS });
}

/** Opens the file for reading: it sees what is committed, whatever another connection is writing. */
export function openSqliteReader(file: string): SqliteDatabase {
  const database = openSqlite(file);
  database.pragma("query_only = ON");
  return database;
}

/** Prepares each text once, and keeps the newest of them. Texts are put together from our own pieces, never from input. */
function prepareOnce(database: SqliteDatabase): (text: string) => SqliteStatement {
  const prepared = new Map<string, SqliteStatement>();
  return (text) => {
    const existing = prepared.get(text);
    if (existing) return existing;
    const fresh = database.prepare(text);
    if (prepared.size >= MOST_PREPARED) prepared.delete(prepared.keys().next().value ?? "");
    prepared.set(text, fresh);
    return fresh;
  };
}

/** Every call runs at once, before it returns its promise. */
export function sqliteConnection(database: SqliteDatabase, folder: string): DatabaseConnection {
  const statement = prepareOnce(database);
  const guarded = async <R>(work: () => R): Promise<R> => {
    try {
      return work();
    } catch (error) {
      throw storeFault(error, folder);
    }
  };
  let isUncopied = false;
  const end = (word: "COMMIT" | "ROLLBACK") => {
    try {
      if (database.inTransaction) statement(word).run();
    } finally {
      if (isUncopied) database.pragma(`wal_autocheckpoint = ${CHECKPOINT_PAGES}`);
      isUncopied = false;
    }
  };
  const rows = ({ sql, parameters }: DatabaseStatement) => guarded(() => statement(sql).all(...parameters) as object[]);
  const run = ({ sql, parameters }: DatabaseStatement) => guarded(() => statement(sql).run(...parameters).changes);
  return {
    isRemote: false,
    read: rows,
    write: rows,
    run,
    enqueue: async (one) => void (await run(one)),
    begin: ({ isLarge = false }, fence) =>
      guarded(() => {
        // Writing the log and copying it would otherwise be one turn of the event loop.
        if (isLarge) database.pragma("wal_autocheckpoint = 0");
        isUncopied = isLarge;
        statement("BEGIN").run();
        fence?.check(statement(fence.statement).all() as object[]);
      }),
    // Durable in any case: a commit costs less than the round trips that another database needs.
    commit: (committed) =>
      guarded(() => {
        end("COMMIT");
        committed();
      }),
    // SQLite has rolled back by itself where the disk is full or fails.
    rollback: () => guarded(() => end("ROLLBACK")),
  };
}
