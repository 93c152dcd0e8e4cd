import type { PoolClient, QueryResult } from "pg";
import type { DatabaseConnection, DatabaseStatement } from "../database.ts";
import { isConnectionLost, postgresFault } from "./fault.ts";
import { type PostgresPool, release, STATEMENT_MS, storableValues } from "./pool.ts";

/** Any number that other programs in the same database are unlikely to lock. */
export const WRITE_LOCK = 1_650_814_568;

/**
 * The settings hold for the transaction only: a pooler such as pgbouncer gives its connection to others afterwards. The lock makes it the only writing
 * transaction of the whole database, as with SQLite, whichever process has it: what a transaction reads stays as it is until it ends, and no
 * transaction has to be repeated. Each statement after the lock sees what was committed before.
 */
const BEGIN = `BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;
  SELECT set_config('statement_timeout', '${STATEMENT_MS}', true), set_config('lock_timeout', '${STATEMENT_MS}', true),
    set_config('idle_in_transaction_session_timeout', '${STATEMENT_MS}', true),
    set_config('synchronous_commit', CASE current_setting('synchronous_commit') WHEN 'off' THEN 'on' ELSE current_setting('synchronous_commit') END, true);
  SELECT pg_advisory_xact_lock(${WRITE_LOCK});
  SELECT pg_current_xact_id()::text AS id`;

/** Reads what is committed, on any connection of the pool. */
export function postgresReader(pool: PostgresPool): Pick<DatabaseConnection, "rows"> {
  return { rows: async (statement) => (await pool.query(statement)).rows as object[] };
}

/** One transaction at a time, on a connection that it has for itself. */
export function postgresConnection(pool: PostgresPool): DatabaseConnection {
  let open: { client: PoolClient; id: string; failure: unknown; isBroken: boolean; last: Promise<unknown> } | undefined;

  const query = async ({ sql, parameters }: DatabaseStatement): Promise<QueryResult> => {
    const transaction = open;
    if (!transaction) throw new Error("a statement outside a transaction");
    // A connection runs one statement at a time; a transaction may ask for several at once.
    const result = transaction.last.then(() => transaction.client.query(sql, storableValues(parameters)));
    transaction.last = result.catch(() => undefined);
    try {
      return await result;
    } catch (error) {
      // From here on the server ignores the transaction, also where the caller handles this error.
      transaction.failure ??= postgresFault(error, pool.name);
      transaction.isBroken ||= isConnectionLost(error);
      throw postgresFault(error, pool.name);
    }
  };
  /** Whether the transaction is committed: its connection broke before the server confirmed it. Faults: STORE_UNAVAILABLE if the server stays away. */
  const isCommitted = (id: string): Promise<boolean> =>
    pool.use(async (client) => {
      // The lock is free as soon as the server has noticed the end of the connection, or has finished the commit.
      await client.query(`BEGIN; SELECT pg_advisory_xact_lock(${WRITE_LOCK}); COMMIT`);
      const { rows } = await client.query<{ status: string | null }>("SELECT pg_xact_status($1::text::xid8) AS status", [id]);
      return rows[0]?.status === "committed";
    });

  return {
    isRemote: true,
    rows: async (statement) => (await query(statement)).rows as object[],
    run: async (statement) => (await query(statement)).rowCount ?? 0,
    begin: async (_, fence) => {
      let results: QueryResult<{ id?: string }>[] = [];
      const client = await pool.take(async (one) => {
        results = (await one.query(fence === undefined ? BEGIN : `${BEGIN};${fence}`)) as unknown as typeof results;
      });
      // As the statements of BEGIN.
      const [, , , transactionId] = results;
      open = { client, id: String(transactionId?.rows[0]?.id), failure: undefined, isBroken: false, last: Promise.resolve() };
      return fence === undefined ? [] : (results.at(-1)?.rows ?? []);
    },
    commit: async (committed) => {
      const transaction = open;
      if (!transaction) return;
      if (transaction.failure !== undefined) throw transaction.failure;
      open = undefined;
      try {
        await transaction.client.query("COMMIT");
        release(transaction.client);
      } catch (error) {
        release(transaction.client, true);
        if (!isConnectionLost(error) || !(await isCommitted(transaction.id))) throw postgresFault(error, pool.name);
      }
      committed();
    },
    rollback: async () => {
      const transaction = open;
      open = undefined;
      if (!transaction) return;
      if (transaction.isBroken) return release(transaction.client, true);
      try {
        await transaction.client.query("ROLLBACK");
        release(transaction.client);
      } catch {
        // The server rolls back what it loses the connection of.
        release(transaction.client, true);
      }
    },
  };
}
