import Sqlite, { type Database as SqliteDatabase, type Statement as SqliteStatement } from "better-sqlite3";
import { createBackoff } from "../../lib/backoff.ts";
import type { Clock } from "../../lib/clock.ts";
import { Fault } from "../../lib/fault.ts";
import type { DatabaseConnection, DatabaseStatement } from "./database.ts";
import { storeFault } from "./store-fault.ts";

/** How long a write waits for another program (`sqlite3`, a tool of backups) that has the store's write lock. */
const BUSY_TIMEOUT_MS = 5_000;

/** Far more than there are texts in everyday use; filters can be combined in more ways than are worth keeping. */
const MOST_PREPARED = 500;

/** From so many pages in the log on, a commit also copies them into the database. SQLite's own default. */
const CHECKPOINT_PAGES = 1_000;

/**
 * Statements run in the event loop, and a commit waits for the disk there. Once the writes of one turn took so long, the next one waits for the next turn:
 * else each turn would take as many commits as there are requests.
 */
const TURN_MS = 5;

/** Opens the file for writing. Until it is a `sqliteConnection`, a statement that waits for another program holds the event loop. */
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

/** Every read outside a transaction runs at once, before it returns its promise. `folder` is named in faults. */
export function sqliteConnection(database: SqliteDatabase, folder: string, clock: Pick<Clock, "monotonic" | "sleep">): DatabaseConnection {
  // SQLite would sleep in the event loop until the lock is free.
  database.pragma("busy_timeout = 0");
  const statement = prepareOnce(database);
  /** Of the writes of this turn. */
  let spentMs = 0;
  let nextTurn: Promise<void> | undefined;
  const turnEnds = (): Promise<void> =>
    (nextTurn ??= new Promise((resolve) =>
      setImmediate(() => {
        spentMs = 0;
        nextTurn = undefined;
        resolve();
      }),
    ));
  const guarded = async <R>(work: () => R): Promise<R> => {
    const since = clock.monotonic();
    const backoff = createBackoff(5, 100);
    for (;;) {
      try {
        return work();
      } catch (error) {
        if (!isBusy(error)) throw storeFault(error, folder);
        if (clock.monotonic() - since >= BUSY_TIMEOUT_MS) {
          const sentence = `Another program has locked the store for ${BUSY_TIMEOUT_MS / 1_000} s (${folder}): end that program.`;
          throw new Fault("STORE_UNAVAILABLE", sentence, { cause: error });
        }
      }
      await clock.sleep(backoff.next());
    }
  };
  const inTurn = <R>(work: () => R): Promise<R> => {
    if (spentMs >= TURN_MS) return turnEnds().then(() => inTurn(work));
    return guarded(() => {
      const from = clock.monotonic();
      try {
        return work();
      } finally {
        spentMs += clock.monotonic() - from;
        void turnEnds();
      }
    });
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
  const rows = ({ sql, parameters }: DatabaseStatement) => statement(sql).all(...parameters) as object[];
  const run = ({ sql, parameters }: DatabaseStatement) => inTurn(() => statement(sql).run(...parameters).changes);
  return {
    isRemote: false,
    read: (one) => (database.inTransaction ? inTurn : guarded)(() => rows(one)),
    write: (one) => inTurn(() => rows(one)),
    run,
    enqueue: async (one) => void (await run(one)),
    begin: ({ isLarge = false }, fence) =>
      inTurn(() => {
        // Writing the log and copying it would otherwise be one turn of the event loop.
        if (isLarge) database.pragma("wal_autocheckpoint = 0");
        isUncopied = isLarge;
        // It has the write lock from here on, so no later statement finds it taken.
        statement("BEGIN IMMEDIATE").run();
        fence?.check(statement(fence.statement).all() as object[]);
      }),
    // Durable in any case: a commit costs less than the round trips that another database needs.
    commit: (committed) =>
      inTurn(() => {
        end("COMMIT");
        committed();
      }),
    // SQLite has rolled back by itself where the disk is full or fails.
    rollback: () => guarded(() => end("ROLLBACK")),
  };
}

const isBusy = (error: unknown): boolean => error instanceof Error && "code" in error && String(error.code).startsWith("SQLITE_BUSY");
