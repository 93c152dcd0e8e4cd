import { AsyncLocalStorage } from "node:async_hooks";
import type { Clock } from "../../lib/clock.ts";
import { Fault } from "../../lib/fault.ts";
import type { Spread } from "../../lib/metrics/open-metrics.ts";
import { createCommitGate } from "./commit-gate.ts";
import { createWriteQueue, type WaitingWrite } from "./write-queue.ts";

/** A statement as the query builder compiles it. */
export type DatabaseStatement = { readonly sql: string; readonly parameters: readonly unknown[] };

/** One connection to the database. Faults: STORE_FULL, STORE_READ_ONLY, STORE_UNAVAILABLE, DATA_FOLDER_UNUSABLE. */
export type DatabaseConnection = {
  /** On another machine, maybe: it writes in transactions only, and time passes between a call and its effect. */
  readonly isRemote: boolean;
  read(statement: DatabaseStatement): Promise<object[]>;
  /** A write that returns rows. */
  write(statement: DatabaseStatement): Promise<object[]>;
  /** Returns how many rows it changed. */
  run(statement: DatabaseStatement): Promise<number>;
  /** A write of a transaction, which may resolve before it ran: where it fails, the commit fails. */
  enqueue(statement: DatabaseStatement): Promise<void>;
  /** The fence is checked before the first write. */
  begin(options: TransactionOptions, fence?: Fence): Promise<void>;
  /** Calls `committed` in the same turn, before another call can write. `isDeferred`: all that it writes may become durable later. */
  commit(committed: () => void, isDeferred: boolean): Promise<void>;
  rollback(): Promise<void>;
  /** Begins and ends a part of the open transaction, which can be undone alone. Undefined: each transaction is committed alone. */
  readonly parts?: CommitParts;
  /** Resolves when all that is committed is durable. Undefined: it always is. */
  flush?(): Promise<void>;
};

/** Beside an open transaction. `readList`: as `Database.readUnordered`; undefined: as `read`. */
export type DatabaseReader = Pick<DatabaseConnection, "read"> & { readList?(statement: DatabaseStatement): Promise<object[]> };

export type CommitParts = { begin(): Promise<void>; end(): void; undo(): Promise<void> };

/** How long writes take until they are durable, in seconds. */
export type CommitMetrics = { clock: Clock; seconds: Spread };

/**
 * `isLarge`: it writes megabytes, which the commit leaves to the next write to copy from the log into the database.
 *
 * `isDeferred`: it resolves when its writes are committed, but a crash of the database may undo them until the next durable commit, or for about half a
 * second. Only for observed state, which reconciliation observes again, and never for what a user requested. `requireDurable` in it takes that back.
 */
export type TransactionOptions = { isLarge?: boolean; isDeferred?: boolean };

/**
 * What must be true for this process to write: that it is still the leader. Each write transaction begins with `statement`, which takes no parameters and
 * may lock rows until the transaction ends. `check` gets its rows, and throws a fault where this process may not write; then nothing is written. With a
 * fence a single write is such a transaction too.
 */
export type Fence = { statement: string; check(rows: readonly object[]): void };

export type Database = {
  /** Outside a transaction it reads what is committed, and waits for no writer. */
  read(statement: DatabaseStatement): Promise<object[]>;
  /**
   * As `read`, for the lists of responses: no commit waits for it, however long it takes. So its rows may be older than a commit whose `afterCommit` has run
   * meanwhile, and no caller keeps them. A commit that had ended before the call is in them.
   */
  readUnordered(statement: DatabaseStatement): Promise<object[]>;
  /** A write that returns rows. Durable when it resolves, as with `run`; in a transaction, when that resolves. Faults of each: STORE_UNAVAILABLE. */
  write(statement: DatabaseStatement): Promise<object[]>;
  /** Returns how many rows it changed. */
  run(statement: DatabaseStatement): Promise<number>;
  /** A write whose result does not matter. In a transaction it may resolve before it ran: where it fails, the transaction fails. */
  enqueue(statement: DatabaseStatement): Promise<void>;
  /**
   * All writes of `work` or none; durable when it resolves. One transaction runs at a time, and no other write comes in between. `work` awaits nothing
   * but the store: all other writes wait for it. A call within another transaction is part of that one: where it fails, all of that fails,
   * whether or not the error is caught.
   */
  transaction<R>(work: () => Promise<R>, options?: TransactionOptions): Promise<R>;
  /** Whether the caller is in a transaction. */
  isInTransaction(): boolean;
  /** The caller's transaction writes what may not be undone once it was acknowledged: it is durable when it resolves, also with `isDeferred`. */
  requireDurable(): void;
  /** Resolves when all that was committed before the call is durable. */
  flush(): Promise<void>;
  /**
   * Calls `task` as soon as the transaction around it is durable, in the order of the commits, or never. Without a transaction it calls it at once. Where it
   * throws within one, the others are called all the same.
   */
  afterCommit(task: () => void): void;
  /** The writes of `work` wait in the queue of the user that `user` returns at that time; undefined: in that of control itself. Users take turns. */
  queueAs<R>(user: () => string | undefined, work: () => R): R;
  /** Calls `connections`, which closes them, when no write is under way. */
  close(connections: () => Promise<void>): Promise<void>;
};

type Transaction = { isOpen: boolean; isDeferred: boolean; failure: { error: unknown } | undefined; tasks: (() => void)[] };

/** Transactions that are committed together. `size`: how many began. `isDeferred`: all of them are. */
type CommitGroup = { size: number; beganOn: number; isDeferred: boolean; tasks: (() => void)[]; done: PromiseWithResolvers<void> };

/** A write does not wait longer than this for the writes before it: as long as the database may take for one statement. */
const WAIT_MS = 10_000;
/** Of one user. */
const MOST_WAITING = 2_000;

/** A group takes no more than this: a commit makes all of them wait. */
const MOST_IN_GROUP = 32;
const GROUP_MS = 20;

/**
 * `reader` reads while a transaction is open on `writer`. Which transaction a call belongs to follows from the async function that makes it, so that no
 * caller hands a transaction on, and none can write past its own. Where the writer has parts, transactions that wait at the end of another one become parts
 * of the same transaction of the database: one flush makes all of them durable.
 */
export function createDatabase(
  writer: DatabaseConnection,
  reader: DatabaseReader,
  metrics: CommitMetrics,
  /** Called for each transaction; undefined: nothing is checked. */
  fenceNow: () => Fence | undefined = () => undefined,
  /** A task of `afterCommit` has thrown: what it follows is durable all the same. */
  taskFailed: (error: unknown) => void = () => undefined,
): Database {
  const gate = createCommitGate(metrics.clock);
  const context = new AsyncLocalStorage<Transaction | undefined>();
  const requesters = new AsyncLocalStorage<() => string | undefined>();
  const waiting = createWriteQueue();
  /** Of the last transaction that failed, if it was for the database. */
  let lastFailure: { fault: Fault; at: number } | undefined;
  let isLocked = false;
  let open: Transaction | undefined;
  let group: CommitGroup | undefined;

  /** The transaction of the caller. What outlives its transaction has none. */
  const own = (): Transaction | undefined => {
    const transaction = context.getStore();
    return transaction?.isOpen === true ? transaction : undefined;
  };
  const failed = (error: unknown) => {
    if (error instanceof Fault && error.code.startsWith("STORE_")) lastFailure = { fault: error, at: metrics.clock.monotonic() };
  };
  /** Why a write gives up: the reason of the database, if it gave one while the write waited. */
  const busy = (sentence: string, since: number): Fault => {
    const reason = lastFailure && lastFailure.at >= since ? lastFailure.fault.message : "the writes before it are slow.";
    return new Fault("STORE_UNAVAILABLE", `${sentence}: ${reason}`);
  };
  const turn = (joins: boolean): Promise<void> =>
    new Promise((resolve, reject) => {
      const { clock } = metrics;
      const since = clock.monotonic();
      const user = requesters.getStore()?.();
      if (waiting.count(user) >= MOST_WAITING) return reject(busy(`A write was refused, because ${MOST_WAITING} others wait`, since - WAIT_MS));
      const cancel = clock.after(WAIT_MS, () => {
        waiting.remove(user, one);
        reject(busy(`A write waited ${WAIT_MS / 1_000} s for others`, since));
      });
      const one: WaitingWrite = {
        joins,
        resume: () => {
          cancel();
          resolve();
        },
      };
      waiting.add(user, one);
    });
  const alone = async <R>(work: () => Promise<R>, joins = false, waits: (joins: boolean) => Promise<void> = turn): Promise<R> => {
    // The lock stays locked while it is handed over, so that no other call comes in between.
    if (isLocked) await waits(joins);
    else isLocked = true;
    try {
      return await work();
    } finally {
      const next = waiting.take();
      if (next) next.resume();
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
    return writer.isRemote || fenceNow() ? begin(work, {}) : alone(() => timed(work));
  };
  const publish = (tasks: readonly (() => void)[]) => {
    open = undefined;
    for (const task of tasks)
      try {
        context.run(undefined, task);
      } catch (error) {
        taskFailed(error);
      }
  };

  const openTransaction = ({ isDeferred = false }: TransactionOptions): Transaction => {
    const transaction: Transaction = { isOpen: true, isDeferred, failure: undefined, tasks: [] };
    open = transaction;
    return transaction;
  };

  /** A transaction that is committed by itself. */
  const runAlone = async <R>(work: () => Promise<R>, options: TransactionOptions): Promise<R> => {
    const transaction = openTransaction(options);
    try {
      await writer.begin(options, fenceNow());
      const result = await context.run(transaction, work);
      if (transaction.failure) throw transaction.failure.error;
      transaction.isOpen = false;
      await writer.commit(() => publish(transaction.tasks), transaction.isDeferred);
      return result;
    } catch (error) {
      transaction.isOpen = false;
      failed(error);
      await writer.rollback();
      throw error;
    } finally {
      open = undefined;
    }
  };

  /** Runs `work` as the first transaction of its group, or as a part of that, which is undone alone where it fails. */
  const runInGroup = async <R>(current: CommitGroup, parts: CommitParts, work: () => Promise<R>, options: TransactionOptions): Promise<R> => {
    const transaction = openTransaction(options);
    const isFirst = current.size++ === 0;
    try {
      await (isFirst ? writer.begin(options, fenceNow()) : parts.begin());
      const result = await context.run(transaction, work);
      if (transaction.failure) throw transaction.failure.error;
      transaction.isOpen = false;
      if (!isFirst) parts.end();
      current.isDeferred &&= transaction.isDeferred;
      current.tasks.push(...transaction.tasks);
      return result;
    } catch (error) {
      transaction.isOpen = false;
      if (isFirst) await cancel(current, error);
      else await parts.undo().catch((failure: unknown) => cancel(current, failure));
      throw error;
    }
  };
  const cancel = async (current: CommitGroup, error: unknown) => {
    failed(error);
    group = undefined;
    await writer.rollback();
    open = undefined;
    current.done.reject(error);
  };
  const commit = async (current: CommitGroup): Promise<void> => {
    group = undefined;
    try {
      await gate.commit(() => writer.commit(() => publish(current.tasks), current.isDeferred));
      current.done.resolve();
    } catch (error) {
      await cancel(current, error);
    }
  };
  const mayGrow = ({ size, beganOn }: CommitGroup) =>
    waiting.next()?.joins === true && size < MOST_IN_GROUP && metrics.clock.monotonic() - beganOn < GROUP_MS;

  /** Resolves when the transaction is durable, maybe together with those that waited at its end. */
  const begin = <R>(work: () => Promise<R>, options: TransactionOptions): Promise<R> => {
    const { parts } = writer;
    if (!parts) return alone(() => timed(() => runAlone(work, options)));
    return timed(async () => {
      let durable: Promise<void> | undefined;
      const inTurn = async () => {
        const current = (group ??= {
          size: 0,
          beganOn: metrics.clock.monotonic(),
          isDeferred: true,
          tasks: [],
          done: Promise.withResolvers(),
        });
        durable = current.done.promise;
        durable.catch(() => undefined);
        try {
          return await runInGroup(current, parts, work, options);
        } finally {
          if (group === current && !mayGrow(current)) await commit(current);
        }
      };
      const result = await alone(inTurn, options.isLarge !== true);
      await durable;
      return result;
    });
  };
  const join = async <R>(transaction: Transaction, work: () => Promise<R>): Promise<R> => {
    try {
      return await work();
    } catch (error) {
      transaction.failure ??= { error };
      throw error;
    }
  };

  const read: Database["read"] = (statement) => {
    if (writer.isRemote) return own() ? writer.read(statement) : gate.read(() => reader.read(statement));
    return (isElsewhere() ? reader : writer).read(statement);
  };
  return {
    read,
    readUnordered: (statement) => (writer.isRemote && !own() ? (reader.readList ?? reader.read)(statement) : read(statement)),
    write: (statement) => single(() => writer.write(statement)),
    run: (statement) => single(() => writer.run(statement)),
    enqueue: (statement) => single(() => writer.enqueue(statement)),
    isInTransaction: () => own() !== undefined,
    requireDurable: () => {
      const transaction = own();
      if (transaction) transaction.isDeferred = false;
    },
    flush: async () => writer.flush?.(),
    transaction: (work, options = {}) => {
      const transaction = own();
      return transaction ? join(transaction, work) : begin(work, options);
    },
    afterCommit: (task) => {
      const transaction = own();
      if (transaction) transaction.tasks.push(task);
      else task();
    },
    queueAs: (user, work) => requesters.run(user, work),
    close: (connections) => alone(connections, false, (joins) => new Promise((resume) => waiting.add(undefined, { resume, joins }))),
  };
}
