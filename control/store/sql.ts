import type { Database as SqliteDatabase } from "better-sqlite3";
import type { CommitMetrics, Database } from "./database.ts";
import { prepareOnce } from "./sqlite.ts";
import { storeFault } from "./store-fault.ts";
import type { StoredValue } from "./tables.ts";

/** What the entity files see of SQLite: text and values. Faults: STORE_FULL, STORE_READ_ONLY, DATA_FOLDER_UNUSABLE, DATA_FOLDER_IN_USE. */
export type Sql = {
  all<R>(text: string, ...values: StoredValue[]): R[];
  /** A write that returns rows. */
  change<R>(text: string, ...values: StoredValue[]): R[];
  /** How many rows it changed. */
  run(text: string, ...values: StoredValue[]): number;
  /** All of it or nothing; may be nested. Durable when it returns. */
  transaction<R>(work: () => R): R;
  /** The same in a transaction of its own. In one that is open already it is a part of that, without a savepoint of its own: do not catch what it throws. */
  together<R>(work: () => R): R;
  /** Calls `task` as soon as the transaction around it is durable, or never. Without a transaction it calls it at once. */
  afterCommit(task: () => void): void;
};

export function sqlOn(
  database: SqliteDatabase,
  reader: SqliteDatabase,
  flows: Pick<Database, "isElsewhere" | "interrupt">,
  folder: string,
  commits: CommitMetrics,
): Sql {
  const writing = prepareOnce(database);
  const reading = prepareOnce(reader);
  const guarded = <R>(work: () => R): R => {
    try {
      return work();
    } catch (error) {
      throw storeFault(error, folder);
    }
  };
  const interrupt = () => flows.interrupt(() => void (database.inTransaction && database.exec("ROLLBACK")));
  /** What is part of a transaction is written with it. */
  const written = <R>(work: () => R): R => {
    interrupt();
    if (database.inTransaction) return guarded(work);
    const from = commits.clock.monotonic();
    const result = guarded(work);
    commits.seconds.observe((commits.clock.monotonic() - from) / 1_000);
    return result;
  };
  const tasks: (() => void)[] = [];
  const transaction = <R>(work: () => R): R => {
    interrupt();
    const isOutermost = !database.inTransaction;
    const before = tasks.length;
    let result: R;
    try {
      result = written(() => database.transaction(work)());
    } catch (error) {
      tasks.length = before;
      throw error;
    }
    if (isOutermost) for (const task of tasks.splice(0)) task();
    return result;
  };
  const together: Sql["together"] = (work) => {
    interrupt();
    return database.inTransaction ? work() : transaction(work);
  };
  return {
    all: <R>(text: string, ...values: StoredValue[]) =>
      guarded(() => (/^\s*SELECT/.test(text) && flows.isElsewhere() ? reading : writing)(text).all(...values) as R[]),
    change: (text, ...values) => written(() => writing(text).all(...values) as never[]),
    run: (text, ...values) => written(() => writing(text).run(...values).changes),
    together,
    transaction,
    afterCommit: (task) => {
      if (database.inTransaction && !flows.isElsewhere()) tasks.push(task);
      else task();
    },
  };
}
