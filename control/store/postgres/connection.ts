import type { PoolClient } from "pg";
import type { Clock } from "../../../lib/clock.ts";
import { openDeadline } from "../../../lib/deadline.ts";
import { createFairSlots, type FairSlots } from "../../../lib/fair-queues.ts";
import { Fault } from "../../../lib/fault.ts";
import type { DatabaseConnection, DatabaseReader, DatabaseStatement, Fence } from "../database.ts";
import { isConnectionLost, postgresFault } from "./fault.ts";
import { type PostgresPool, release, STATEMENT_MS } from "./pool.ts";
import type { StatementResult } from "./statement-batch.ts";

/** Any number that other programs in the same database are unlikely to lock. */
export const WRITE_LOCK = 1_650_814_568;

/**
 * A server that crashed or failed over may give the number of a transaction that it lost to another one. It also empties its unlogged tables, which it does
 * at no other time: as long as this one has the same row, no transaction was lost.
 */
const SERVER_RUN = "(SELECT id FROM server_run LIMIT 1)";
/** Another process may have inserted it while this one waited for the lock. */
const BEGIN_RUN = {
  sql: `WITH fresh AS (INSERT INTO server_run SELECT gen_random_uuid()::text WHERE NOT EXISTS (SELECT FROM server_run) RETURNING id)
    SELECT id FROM fresh UNION ALL SELECT id FROM server_run LIMIT 1`,
  parameters: [],
};

const WAIT_FOR_DISK = `set_config('synchronous_commit', CASE current_setting('synchronous_commit') WHEN 'off' THEN 'on' ELSE current_setting('synchronous_commit') END, true)`;

/**
 * The settings hold for the transaction only: a pooler such as pgbouncer gives its connection to others afterwards. The lock makes it the only writing
 * transaction of the whole database, as with SQLite, whichever process has it: what a transaction reads stays as it is until it ends, and no
 * transaction has to be repeated. Each statement after the lock sees what was committed before.
 */
const BEGIN = text("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE");
/** The server evaluates the columns in this order, so the lock is awaited no longer than its time-out. */
const LOCK = text(`SELECT set_config('statement_timeout', '${STATEMENT_MS}', true), set_config('lock_timeout', '${STATEMENT_MS}', true),
    set_config('idle_in_transaction_session_timeout', '${STATEMENT_MS}', true), ${WAIT_FOR_DISK},
    pg_advisory_xact_lock(${WRITE_LOCK}), pg_current_xact_id()::text AS id, ${SERVER_RUN} AS run`);
const COMMIT = text("COMMIT");
const ROLLBACK = text("ROLLBACK");

/** Sent together with COMMIT: that does not wait for the disk, nor for a synchronous standby. Every later commit that waits also waits for this one. */
const DEFER = text("SET LOCAL synchronous_commit TO off");

/** Writes to the server's log only, so it takes neither lock nor fence. Its commit flushes what was committed before. */
const FLUSH = { sql: `SELECT ${WAIT_FOR_DISK}, pg_logical_emit_message(true, 'berth', '')`, parameters: [] };

/** How long a read may wait for those before it, and how many may wait. */
const READ_WAIT_MS = 10_000;
const MOST_WAITING_READS = 2_000;
/** Slots are for all callers alike. */
const ANY = "";

/**
 * Reads what is committed, on any connection of the pool but one, which writes find free however slow the reads are. Lists leave one to other reads too, where
 * there are three.
 */
export function postgresReader(pool: PostgresPool, clock: Clock): DatabaseReader {
  const openSlots = (slots: number) =>
    createFairSlots({ slots, slotsPerUser: slots, waiting: MOST_WAITING_READS, waitingPerUser: MOST_WAITING_READS, full: () => slow() });
  const slow = () => new Fault("STORE_UNAVAILABLE", `A query waited for others: the queries before it are slow (${pool.name}).`);
  const reads = openSlots(pool.connections - 1);
  const lists = openSlots(Math.max(1, pool.connections - 2));
  const inSlot = async <R>(slots: FairSlots, work: () => Promise<R>): Promise<R> => {
    if (!slots.tryEnter(ANY)) {
      const deadline = openDeadline({ clock, ms: READ_WAIT_MS, overdue: slow });
      await slots.enter(ANY, deadline.signal).finally(deadline.close);
    }
    try {
      return await work();
    } finally {
      slots.leave(ANY);
    }
  };
  const read = (statement: DatabaseStatement) => inSlot(reads, async () => (await pool.query(statement)).rows);
  return { read, readList: (statement) => inSlot(lists, () => read(statement)) };
}

type PostgresTransaction = {
  fence: Fence | undefined;
  /** Undefined until its first statement. */
  client: PoolClient | undefined;
  /** By which the server knows it, and the run of the server in which it is its number. */
  id: string;
  run: string;
  hasWritten: boolean;
  /** Of the first statement that failed: from then on the server refuses the others, whether or not the caller handles the error. */
  failure: unknown;
  isBroken: boolean;
  /** The results of `first`, as soon as BEGIN has succeeded. Undefined until the first statement. */
  begun: Promise<StatementResult[]> | undefined;
  /** Reads that are sent together with BEGIN. */
  first: DatabaseStatement[];
  isBeginSent: boolean;
  /** How many parts it has had. Each has a savepoint by its number: going back to one that the server refused fails, and does not undo the part before. */
  parts: number;
};

/**
 * One transaction at a time, on a connection that it has for itself. Statements are sent as they come, without waiting for the results of those before. A
 * transaction begins with its first statement: reads of the same turn are sent together with BEGIN, a write only after the fence is checked.
 */
export function postgresConnection(pool: PostgresPool): DatabaseConnection {
  let open: PostgresTransaction | undefined;
  /** Grows with each commit that is deferred; `flushed`: up to which of them all are durable. */
  let deferred = 0;
  let flushed = 0;

  const discard = (client: PoolClient) => {
    release(client, true);
    pool.interrupted();
  };
  const goBack = async (client: PoolClient, statement: DatabaseStatement) => {
    try {
      await pool.queryOn(client, statement);
    } catch (error) {
      if (isConnectionLost(error)) throw error;
      // A statement before it in the same message failed, so the server did not run it.
      await pool.queryOn(client, statement);
    }
  };
  const rollBack = async (client: PoolClient) => {
    try {
      await goBack(client, ROLLBACK);
      release(client);
    } catch {
      // The server rolls back what it loses the connection of.
      discard(client);
    }
  };
  const fail = (transaction: PostgresTransaction, error: unknown): never => {
    transaction.isBroken ||= isConnectionLost(error);
    transaction.failure ??= postgresFault(error, pool.name);
    throw transaction.failure;
  };
  /** Once for a transaction, on another connection where the first breaks: until here, nothing is written. */
  const begin = (transaction: PostgresTransaction): Promise<StatementResult[]> => {
    transaction.begun ??= sendBegin(transaction).catch((error: unknown) => fail(transaction, error));
    transaction.begun.catch(() => undefined);
    return transaction.begun;
  };
  const sendBegin = async (transaction: PostgresTransaction): Promise<StatementResult[]> => {
    const { fence } = transaction;
    const opening = [BEGIN, LOCK, ...(fence ? [text(fence.statement)] : [])];
    let results: StatementResult[] = [];
    transaction.client = await pool.take(async (one) => {
      transaction.isBeginSent = true;
      results = await Promise.all([...opening, ...transaction.first].map((statement) => pool.queryOn(one, statement)));
    });
    const { id, run } = (results[1]?.rows[0] ?? {}) as { id?: string; run?: string | null };
    fence?.check(results[2]?.rows ?? []);
    transaction.id = String(id);
    transaction.run = run ?? (await beginRun(transaction.client));
    return results.slice(opening.length);
  };
  /** The first transaction since the server crashed. */
  const beginRun = async (client: PoolClient): Promise<string> => String(((await pool.queryOn(client, BEGIN_RUN)).rows[0] as { id?: string }).id);
  const query = async (statement: DatabaseStatement, isWrite: boolean): Promise<StatementResult> => {
    const transaction = open;
    if (!transaction) throw new Error("a statement outside a transaction");
    if (transaction.failure !== undefined) throw transaction.failure;
    transaction.hasWritten ||= isWrite;
    try {
      if (!isWrite && !transaction.isBeginSent) {
        const place = transaction.first.push(statement) - 1;
        const result = (await begin(transaction))[place];
        if (result) return result;
      } else if (!transaction.client) await begin(transaction);
      if (transaction.failure !== undefined || !transaction.client) throw transaction.failure;
      return await pool.queryOn(transaction.client, statement);
    } catch (error) {
      return fail(transaction, error);
    }
  };
  /**
   * Whether the transaction is committed: its connection broke before the server confirmed it. Faults: STORE_UNAVAILABLE if the server stays away, or
   * crashed meanwhile: then the transaction may be stored, or its number may be another one's.
   */
  const isCommitted = ({ id, run }: PostgresTransaction): Promise<boolean> =>
    pool.use(async (client) => {
      // The lock is free as soon as the server has noticed the end of the connection, or has finished the commit.
      await client.query(`BEGIN; SET LOCAL statement_timeout TO 0; SELECT pg_advisory_xact_lock(${WRITE_LOCK}); COMMIT`);
      const { rows } = await client.query<{ status: string | null }>(
        `SELECT CASE WHEN ${SERVER_RUN} = $2 THEN coalesce(pg_xact_status($1::text::xid8), 'forgotten') END AS status`,
        [id, run],
      );
      const status = rows[0]?.status ?? undefined;
      if (status === undefined)
        throw new Fault("STORE_UNAVAILABLE", `PostgreSQL crashed during a commit: whether the change is stored is not known (${pool.name}).`);
      return status === "committed";
    });
  const part = (verb: "SAVEPOINT" | "RELEASE SAVEPOINT") => {
    const transaction = open;
    if (transaction?.client)
      pool
        .queryOn(transaction.client, text(`${verb} part_${transaction.parts}`))
        .catch((error: unknown) => fail(transaction, error))
        .catch(() => undefined);
  };

  return {
    isRemote: true,
    read: async (statement) => (await query(statement, false)).rows,
    write: async (statement) => (await query(statement, true)).rows,
    run: async (statement) => (await query(statement, true)).rowCount ?? 0,
    enqueue: async (statement) => void query(statement, true).catch(() => undefined),
    begin: async (_, fence) => {
      const unknown = { client: undefined, failure: undefined, begun: undefined };
      open = { ...unknown, fence, id: "", run: "", hasWritten: false, isBroken: false, first: [], isBeginSent: false, parts: 0 };
    },
    parts: {
      begin: async () => {
        if (open && !open.client) await begin(open);
        if (open) open.parts++;
        part("SAVEPOINT");
      },
      end: () => part("RELEASE SAVEPOINT"),
      undo: async () => {
        const transaction = open;
        if (!transaction?.client || transaction.isBroken) throw transaction?.failure;
        await goBack(transaction.client, text(`ROLLBACK TO SAVEPOINT part_${transaction.parts}`));
        transaction.failure = undefined;
        part("RELEASE SAVEPOINT");
      },
    },
    flush: async () => {
      const upTo = deferred;
      if (flushed >= upTo) return;
      await pool.query(FLUSH);
      flushed = Math.max(flushed, upTo);
    },
    commit: async (committed, mayDefer) => {
      const transaction = open;
      if (!transaction) return;
      await transaction.begun?.catch(() => undefined);
      if (transaction.failure !== undefined) throw transaction.failure;
      open = undefined;
      const { client, hasWritten } = transaction;
      // A pooler may hide that the server crashed: then nothing would show that such a commit may be undone.
      const isDeferred = mayDefer && hasWritten && client !== undefined && pool.isDirect(client);
      if (isDeferred) pool.queryOn(client, DEFER).catch(() => undefined);
      try {
        // Without a write there is nothing to flush. After a statement that failed, the server rolls back instead, or does not run it.
        const result = client && (await pool.queryOn(client, hasWritten ? COMMIT : ROLLBACK));
        if (client) release(client);
        if (hasWritten && result?.command !== "COMMIT") transaction.failure ??= new Error("PostgreSQL rolled back a transaction");
        else if (isDeferred) deferred++;
        else if (hasWritten) flushed = deferred;
      } catch (error) {
        if (!client) throw error;
        if (isConnectionLost(error)) {
          discard(client);
          if (!(await isCommitted(transaction))) throw postgresFault(error, pool.name);
        } else {
          transaction.failure ??= postgresFault(error, pool.name);
          await rollBack(client);
        }
      }
      if (transaction.failure !== undefined) throw transaction.failure;
      committed();
    },
    rollback: async () => {
      const transaction = open;
      open = undefined;
      await transaction?.begun?.catch(() => undefined);
      const client = transaction?.client;
      if (!client) return;
      if (transaction.isBroken) discard(client);
      else await rollBack(client);
    },
  };
}

function text(sql: string): DatabaseStatement {
  return { sql, parameters: [] };
}
