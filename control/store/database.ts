import { AsyncLocalStorage } from "node:async_hooks";
import type { Clock } from "../../lib/clock.ts";
import type { Spread } from "../../lib/metrics/open-metrics.ts";

/** A statement as the query builder compiles it. */
export type DatabaseStatement = { readonly sql: string; readonly parameters: readonly unknown[] };

/** One connection to the database. Faults: STORE_FULL, STORE_READ_ONLY, STORE_UNAVAILABLE, DATA_FOLDER_UNUSABLE, DATA_FOLDER_IN_USE. */
export type DatabaseConnection = {
  /** On another machine, maybe: it writes in transactions only, and time passes between a call and its effect. */
  readonly isRemote: boolean;
  rows(statement: DatabaseStatement): Promise<object[]>;
  /** Returns how many rows it changed. */
  run(statement: DatabaseStatement): Promise<number>;
  /** Returns the rows of `fence`, a statement without parameters, which it runs at the transaction's beginning. */
  begin(options: TransactionOptions, fence?: string): Promise<object[]>;
  /** Calls `committed` in the same turn, before another call can write. */
  commit(committed: () => void): Promise<void>;
  rollback(): Promise<void>;
};

/** How long writes take until they are durable, in seconds. */
export type CommitMetrics = { clock: Clock; seconds: Spread };

/** `isLarge`: it writes megabytes, which the commit leaves to the next write to copy from the log into the database. */
export type TransactionOptions = { isLarge?: boolean };

/**
 * What must be true for this process to write: that it is still the leader. Each write transaction begins with `statement`, which takes no parameters and
 * may lock rows until the transaction ends. `check` gets its rows, and throws a fault where this process may not write; then nothing is written. With a
 * fence a single write is such a transaction too.
 */
export type Fence = { statement: string; check(rows: readonly object[]): void };

export type Database = {
  /** Outside a transaction it reads what is committed, and waits for no writer. */
  read(statement: DatabaseStatement): Promise<object[]>;
  /** A write that returns rows. Durable when it resolves, as with `run`; in a transaction, when that resolves. */
  write(statement: DatabaseStatement): Promise<object[]>;
  /** Returns how many rows it changed. */
  run(statement: DatabaseStatement): Promise<number>;
  /**
   * All writes of `work` or none; durable when it resolves. One transaction runs at a time, and no other write comes in between. `work` awaits nothing
   * but the store: all other writes wait for it. A call within another transaction is part of that one: where it fails, all of that fails,
   * whether or not the error is caught.
   */
  transaction<R>(work: () => Promise<R>, options?: TransactionOptions): Promise<R>;
  /** Whether the caller is in a transaction. */
  isInTransaction(): boolean;
  /** Calls `task` as soon as the transaction around it is durable, in the order of the commits, or never. Without a transaction it calls it at once. */
  afterCommit(task: () => void): void;
  /** Calls `connections`, which closes them, when no write is under way. */
  close(connections: () => Promise<void>): Promise<void>;
};

type Transaction = { isOpen: boolean; failure: { error: unknown } | undefined; tasks: (() => void)[] };

/**
 * `reader` reads while a transaction is open on `writer`. Which transaction a call belongs to follows from the async function that makes it, so that no
 * caller hands a transaction on, and none can write past its own.
 */
export function createDatabase(
  writer: DatabaseConnection,
  reader: Pick<DatabaseConnection, "rows">,
  metrics: CommitMetrics,
  /** Called for each transaction; undefined: nothing is checked. */
  fenceNow: () => Fence | undefined = () => undefined,
): Database {
  const gate = createCommitGate();
  const context = new AsyncLocalStorage<Transaction | undefined>();
  const waiting: (() => void)[] = [];
  let isLocked = false;
  let open: Transaction | undefined;

  /** The transaction of the caller. What outlives its transaction has none. */
  const own = (): Transaction | undefined => {
    const transaction = context.getStore();
    return transaction?.isOpen === true ? transaction : undefined;
  };
  const alone = async <R>(work: () => Promise<R>): Promise<R> => {
    // The lock stays locked while it is handed over, so that no other call comes in between.
    if (isLocked) await new Promise<void>((resolve) => waiting.push(resolve));
    else isLocked = true;
    try {
      return await work();
    } finally {
      const next = waiting.shift();
      if (next) next();
      else isLocked = false;
    }
  };
  const isElsewhere = () => open !== undefined && open !== own();
  const timed = async <R>(work: () => Promise<R>): Promise<R> => {
    const from = metrics.clock.monotonic();
    const result = await work();
    metrics.seconds.observe((metrics.clock.monotonic() - from) / 1_000);
    return result;
  };
  const single = <R>(work: () => Promise<R>): Promise<R> => {
    if (own()) return work();
    return alone(() => timed(() => (writer.isRemote || fenceNow() ? begin(work, {}) : work())));
  };

  const begin = async <R>(work: () => Promise<R>, options: TransactionOptions): Promise<R> => {
    const transaction: Transaction = { isOpen: true, failure: undefined, tasks: [] };
    open = transaction;
    try {
      const fence = fenceNow();
      const rows = await writer.begin(options, fence?.statement);
      fence?.check(rows);
      const result = await context.run(transaction, work);
      if (transaction.failure) throw transaction.failure.error;
      transaction.isOpen = false;
      const commit = () =>
        writer.commit(() => {
          open = undefined;
          for (const task of transaction.tasks) context.run(undefined, task);
        });
      await (writer.isRemote ? gate.commit(commit) : commit());
      return result;
    } catch (error) {
      transaction.isOpen = false;
      await writer.rollback();
      throw error;
    } finally {
      open = undefined;
    }
  };
  const join = async <R>(transaction: Transaction, work: () => Promise<R>): Promise<R> => {
    try {
      return await work();
    } catch (error) {
      transaction.failure ??= { error };
      throw error;
    }
  };

  return {
    read: (statement) => {
      if (writer.isRemote) return own() ? writer.rows(statement) : gate.read(() => reader.rows(statement));
      return (isElsewhere() ? reader : writer).rows(statement);
    },
    write: (statement) => single(() => writer.rows(statement)),
    run: (statement) => single(() => writer.run(statement)),
    isInTransaction: () => own() !== undefined,
    transaction: (work, options = {}) => {
      const transaction = own();
      return transaction ? join(transaction, work) : alone(() => timed(() => begin(work, options)));
    },
    afterCommit: (task) => {
      const transaction = own();
      if (transaction) transaction.tasks.push(task);
      else task();
    },
    close: (connections) => alone(connections),
  };
}

/**
 * A read of a remote database takes time. Without the gate, what it returns could be older than a commit whose `afterCommit` has run meanwhile: who keeps
 * a copy would go back to the old row. A commit waits for the reads that are under way, and reads that begin meanwhile wait for the commit.
 */
function createCommitGate() {
  let reads = 0;
  let underWay: { commit: Promise<void> } | undefined;
  let lastRead: (() => void) | undefined;
  const opened = async () => {
    for (;;) {
      const current = underWay;
      if (!current) return;
      await current.commit;
    }
  };
  return {
    read: async <R>(work: () => Promise<R>): Promise<R> => {
      if (underWay) await opened();
      reads++;
      try {
        return await work();
      } finally {
        if (--reads === 0) lastRead?.();
      }
    },
    /** One at a time. */
    commit: async (work: () => Promise<void>): Promise<void> => {
      const { promise, resolve } = Promise.withResolvers<void>();
      underWay = { commit: promise };
      try {
        if (reads > 0) await new Promise<void>((done) => (lastRead = done));
        await work();
      } finally {
        lastRead = undefined;
        underWay = undefined;
        resolve();
      }
    },
  };
}
