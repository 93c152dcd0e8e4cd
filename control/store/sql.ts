import type { Database as SqliteDatabase, Statement } from "better-sqlite3";
import type { Clock } from "../../lib/clock.ts";
import type { Spread } from "../../lib/metrics/cells.ts";
import type { Database } from "./database.ts";
import { storeFault } from "./store-fault.ts";

type Value = string | number | null;

/** What the entity files see of SQLite: text and values. Faults: STORE_FULL, STORE_READ_ONLY, DATA_FOLDER_UNUSABLE, DATA_FOLDER_IN_USE. */
export type Sql = {
  all<R>(text: string, ...values: Value[]): R[];
  /** A write that returns rows. */
  change<R>(text: string, ...values: Value[]): R[];
  /** How many rows it changed. */
  run(text: string, ...values: Value[]): number;
  /** All of it or nothing; may be nested. Durable when it returns. */
  transaction<R>(work: () => R): R;
  /** The same in a transaction of its own. In one that is open already it is a part of that, without a savepoint of its own: do not catch what it throws. */
  together<R>(work: () => R): R;
  /** Calls `task` as soon as the transaction around it is durable, or never. Without a transaction it calls it at once. */
  afterCommit(task: () => void): void;
};

/** Far more than there are texts in everyday use; filters can be combined in more ways than are worth keeping. */
const MOST_PREPARED = 500;

/** How long writes take until they are durable, in seconds. */
export type Commits = { clock: Clock; seconds: Spread };

/** Each text is prepared once; texts are put together from our own pieces, never from input. */
export function sqlOn(
  database: SqliteDatabase,
  reader: SqliteDatabase,
  flows: Pick<Database, "isElsewhere" | "interrupt">,
  folder: string,
  commits: Commits,
): Sql {
  const prepare = (connection: SqliteDatabase) => {
    const prepared = new Map<string, Statement>();
    return (text: string): Statement => {
      const known = prepared.get(text);
      if (known) return known;
      const fresh = connection.prepare(text);
      if (prepared.size >= MOST_PREPARED) prepared.delete(prepared.keys().next().value ?? "");
      prepared.set(text, fresh);
      return fresh;
    };
  };
  const writing = prepare(database);
  const reading = prepare(reader);
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
    all: <R>(text: string, ...values: Value[]) =>
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
