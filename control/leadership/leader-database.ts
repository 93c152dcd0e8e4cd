import type { Client } from "pg";
import type { Clock } from "../../lib/clock.ts";
import { Fault } from "../../lib/fault.ts";
import type { PostgresAddress } from "../store/postgres/address.ts";
import { withoutServerText } from "../store/postgres/fault.ts";
import { isDirectConnection } from "../store/postgres/pooler.ts";

/**
 * A connection of its own to the database, so that a renewal never waits for a query of the store. Directly to the server it also gets notifications; a
 * pooler in transaction mode delivers none, and then timers do the same later.
 */
export type LeaderDatabase = {
  /** The address, for messages. */
  readonly name: string;
  /**
   * Runs SQL without parameters as one transaction, and returns the rows of its last statement. It ends within `timeoutMs`, on the server too.
   * Faults: STORE_UNAVAILABLE.
   */
  transaction(sql: string): Promise<object[]>;
  /** Calls `listener` at each notification, until the returned function is called. */
  watch(listener: () => void): () => void;
  close(): Promise<void>;
};

const CHANNEL = "berth_leadership";
/** Ends the waits of the other control processes. */
export const NOTIFY = `SELECT pg_notify('${CHANNEL}', '')`;

/**
 * Connects at the first call, and again after each failure. `timeoutMs`: for a connect, and for a transaction. `purpose`: for the server's list of
 * connections. `isListening` false: it gets no notifications.
 */
export function openLeaderDatabase(
  address: PostgresAddress,
  options: { timeoutMs: number; clock: Clock; purpose?: "leadership" | "status"; isListening?: boolean },
): LeaderDatabase {
  const { timeoutMs, clock, purpose = "leadership", isListening = true } = options;
  const { name, ...connection } = address;
  const listeners = new Set<() => void>();
  // Ends on the server before this process gives it up: what is decided here is what the server did.
  const limits = `SET LOCAL statement_timeout = ${Math.floor(timeoutMs * 0.8)}; SET LOCAL lock_timeout = ${Math.floor(timeoutMs * 0.8)};
    SET LOCAL idle_in_transaction_session_timeout = ${timeoutMs}`;
  let opening: Promise<Client> | undefined;
  let isClosed = false;

  const connect = async (): Promise<Client> => {
    const { default: pg } = await import("pg");
    const client = new pg.Client({
      ...connection,
      application_name: `berth ${purpose}`,
      connectionTimeoutMillis: timeoutMs,
      query_timeout: timeoutMs,
      keepAlive: true,
    });
    client.on("error", () => drop(client));
    client.on("end", () => drop(client));
    client.on("notification", () => {
      for (const listener of listeners) listener();
    });
    try {
      await client.connect();
      if (isListening && (await isDirectConnection(client))) await client.query(`LISTEN ${CHANNEL}`);
    } catch (error) {
      void client.end().catch(() => undefined);
      throw error;
    }
    if (isClosed) drop(client);
    return client;
  };
  let current: Client | undefined;
  const drop = (client: Client) => {
    if (current === client) {
      current = undefined;
      opening = undefined;
    }
    // Ends also a query that is under way.
    void client.end().catch(() => undefined);
  };
  const open = (): Promise<Client> => {
    opening ??= connect().then(
      (client) => (current = client),
      (error: unknown) => {
        opening = undefined;
        throw error;
      },
    );
    return opening;
  };

  return {
    name,
    transaction: async (sql) => {
      const deadline = Promise.withResolvers<never>();
      const cancel = clock.after(2 * timeoutMs, () => deadline.reject(new Error(`no answer within ${(2 * timeoutMs) / 1_000} s`)));
      let client: Client | undefined;
      try {
        client = await Promise.race([open(), deadline.promise]);
        const results: unknown = await Promise.race([client.query(`BEGIN; ${limits}; ${sql}; COMMIT`), deadline.promise]);
        return (results as { rows: object[] }[]).at(-2)?.rows ?? [];
      } catch (error) {
        if (client) drop(client);
        throw new Fault("STORE_UNAVAILABLE", `The database ${name} cannot be used: ${reasonOf(error)}.`, { cause: withoutServerText(error) });
      } finally {
        cancel();
      }
    },
    watch: (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    close: async () => {
      isClosed = true;
      if (current) await current.end().catch(() => undefined);
    },
  };
}

/** A code where there is one: messages of the driver may name the user. */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return "no reason given";
  return "code" in error && typeof error.code === "string" ? error.code : error.message;
}
