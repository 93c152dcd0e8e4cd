import type { Pool, PoolClient, QueryResult } from "pg";
import type { Clock } from "../../../lib/clock.ts";
import { completesWithin } from "../../../lib/deadline.ts";
import { createBackoff } from "../../../lib/backoff.ts";
import { Fault } from "../../../lib/fault.ts";
import type { DatabaseStatement } from "../database.ts";
import type { PostgresAddress } from "./address.ts";
import { isConnectionLost, postgresFault } from "./fault.ts";
import { createPreparedStatements, type PreparedStatements } from "./prepared.ts";
import type { StatementResult } from "./statement-batch.ts";

/** How long a connection may take to be made, and a call to get one, in milliseconds. */
const CONNECT_MS = 5_000;

/** How long the server may take for one statement. The slowest of ours, a list of 10,000 containers, takes a tenth of a second. */
export const STATEMENT_MS = 10_000;

/**
 * How long calls wait for a database that is away, from when the first of them failed. Then they fail at once until it is back. A call whose statement
 * fails or is not answered again and again, while the server takes connections, gives up after this time too.
 */
const PATIENCE_MS = 5_000;

const RETRY = { firstMs: 50, longestMs: 2_000 };

/** OIDs of int8 and numeric: our numbers are counts and milliseconds, which a double holds. */
const NUMBERS = new Set([20, 1_700]);

export type PostgresPool = {
  /** The address, for messages. */
  readonly name: string;
  /** Most at a time: 2 or more. */
  readonly connections: number;
  /** Runs `work` on a connection, and again on another one where that breaks: it must be repeatable. Faults: STORE_UNAVAILABLE. */
  use<R>(work: (client: PoolClient) => Promise<R>): Promise<R>;
  /** A connection until `release`; `work` runs on it first, again on another one where it breaks. */
  take(work: (client: PoolClient) => Promise<unknown>): Promise<PoolClient>;
  query(statement: DatabaseStatement): Promise<StatementResult>;
  /** On a connection of this pool, in a transaction. */
  queryOn: PreparedStatements["query"];
  isDirect: PreparedStatements["isDirect"];
  /** Calls `listener` when a connection has broken, and when the server is back. */
  watchInterruptions(listener: () => void): void;
  /** A connection broke; it is called for those that its owner discards. */
  interrupted(): void;
  close(): Promise<void>;
};

/**
 * Connections are made when they are needed. While the server is away, one attempt at a time is made, with growing pauses. `statementMs`: how long the server
 * may take for one statement.
 */
export async function openPostgresPool(
  address: PostgresAddress,
  options: { connections: number; clock: Clock; statementMs?: number },
): Promise<PostgresPool> {
  const { clock, statementMs = STATEMENT_MS } = options;
  const connections = Math.max(2, options.connections);
  const { default: pg } = await import("pg");
  const { name, ...connection } = address;
  const pool: Pool = new pg.Pool({
    ...connection,
    application_name: "berth",
    max: connections,
    connectionTimeoutMillis: CONNECT_MS,
    // A statement that the server goes on with after this keeps its process, so the server ends it first.
    query_timeout: statementMs + 1_000,
    keepAlive: true,
    // Statements are sent as they come: a transaction does not wait for the result of each.
    pipeline: true,
    types: {
      getTypeParser: ((oid: number, format?: "text" | "binary") =>
        NUMBERS.has(oid) ? Number : pg.types.getTypeParser(oid, format)) as typeof pg.types.getTypeParser,
    },
  });
  const statements = createPreparedStatements(pg, statementMs);
  const listeners = new Set<() => void>();
  const interrupted = () => {
    for (const listener of listeners) listener();
  };
  pool.on("connect", statements.connected);
  // In use or not.
  pool.on("connect", (client) => client.on("error", interrupted));
  // An idle connection that breaks leaves the pool by itself.
  pool.on("error", () => undefined);

  const closing = new AbortController();
  let recovery: { since: number; done: Promise<void>; last: unknown } | undefined;

  const recover = (cause: unknown) => {
    const current = (recovery ??= { since: clock.monotonic(), done: Promise.resolve(), last: cause });
    const backoff = createBackoff(RETRY.firstMs, RETRY.longestMs);
    const attempt = async (): Promise<void> => {
      while (!closing.signal.aborted) {
        await clock.sleep(backoff.next(), closing.signal);
        try {
          const client = await pool.connect();
          // A server that has become a standby takes connections, but no writes.
          const { rows } = (await client.query("SELECT pg_is_in_recovery() AS standby").finally(() => client.release())) as QueryResult<{
            standby: boolean;
          }>;
          if (rows[0]?.standby === true) throw Object.assign(new Error("standby"), { code: "25006" });
          break;
        } catch (failure) {
          current.last = failure;
        }
      }
      recovery = undefined;
      if (!closing.signal.aborted) interrupted();
    };
    current.done = attempt().catch(() => undefined);
    return current;
  };
  /** Waits until the server is back. Faults: STORE_UNAVAILABLE when that takes too long. */
  const settled = async (cause: unknown) => {
    const current = recovery ?? recover(cause);
    const left = current.since + PATIENCE_MS - clock.monotonic();
    await completesWithin(current.done, Math.max(0, left), clock);
    if (recovery === current || closing.signal.aborted) throw postgresFault(current.last, name);
  };

  const take = async (work: (client: PoolClient) => Promise<unknown>): Promise<PoolClient> => {
    let failedOn: number | undefined;
    for (;;) {
      if (recovery) await settled(recovery.last);
      let client: PoolClient | undefined;
      try {
        client = await pool.connect();
        // Broken while it is used: the query that is under way fails, and reports it.
        client.on("error", ignore);
        await work(client);
        return client;
      } catch (error) {
        client?.off("error", ignore);
        client?.release(true);
        if (error instanceof Fault) throw error;
        failedOn ??= clock.monotonic();
        if (!isConnectionLost(error) || clock.monotonic() - failedOn > PATIENCE_MS) throw postgresFault(error, name);
        await settled(error);
      }
    }
  };
  const use = async <R>(work: (client: PoolClient) => Promise<R>): Promise<R> => {
    let result: R | undefined;
    const client = await take(async (one) => {
      result = await work(one);
    });
    release(client);
    return result as R;
  };
  return {
    name,
    connections,
    use,
    take,
    query: (statement) => use((client) => statements.queryAlone(client, statement)),
    queryOn: statements.query,
    isDirect: statements.isDirect,
    watchInterruptions: (listener) => void listeners.add(listener),
    interrupted,
    close: async () => {
      listeners.clear();
      closing.abort();
      await pool.end();
    },
  };
}

function ignore(): void {
  // As above.
}

/** `isBroken`: the connection is closed instead of being used again. */
export function release(client: PoolClient, isBroken = false): void {
  client.off("error", ignore);
  client.release(isBroken);
}
