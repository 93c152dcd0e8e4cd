import type pg from "pg";
import type { PoolClient } from "pg";
import type { DatabaseStatement } from "../database.ts";
import { isDirectConnection } from "./pooler.ts";
import { createStatementBatches, type StatementResult } from "./statement-batch.ts";

/** A text that is used so often is prepared: parsing and planning takes about as long as running it. */
const USES = 3;

/** Far more than there are texts in everyday use; filters of lists can be combined in more ways than are worth keeping. */
const MOST_PREPARED = 400;
const MOST_COUNTED = 2_000;

/** Runs statements that each server connection prepares once, where connections are berth's own. */
export type PreparedStatements = {
  /** For each new connection, before its first statement. */
  connected(client: PoolClient): void;
  /** It is known that no pooler is in between. */
  isDirect(client: PoolClient): boolean;
  /** The only one of its turn on this connection. It is committed when it resolves. */
  queryAlone(client: PoolClient, statement: DatabaseStatement): Promise<StatementResult>;
  /** In a transaction: together with the others of this turn of the event loop, as `SendStatement`. */
  query(client: PoolClient, statement: DatabaseStatement): Promise<StatementResult>;
};

/**
 * Behind a pooler nothing is prepared: the statement may be missing on the next connection that it lends. `statementMs`: how long the server may take for one.
 */
export function createPreparedStatements(driver: Pick<typeof pg, "Query">, statementMs: number): PreparedStatements {
  const send = createStatementBatches(driver);
  const direct = new WeakSet<PoolClient>();
  const names = new Map<string, string>();
  const uses = new Map<string, number>();

  const nameOf = (sql: string): string | undefined => {
    const name = names.get(sql);
    if (name !== undefined || names.size >= MOST_PREPARED) return name;
    const count = (uses.get(sql) ?? 0) + 1;
    if (uses.size >= MOST_COUNTED) uses.clear();
    if (count < USES) return void uses.set(sql, count);
    uses.delete(sql);
    const fresh = `berth_${names.size}`;
    names.set(sql, fresh);
    return fresh;
  };

  const query = async (client: PoolClient, { sql, parameters }: DatabaseStatement, isAlone: boolean) => {
    const name = direct.has(client) ? nameOf(sql) : undefined;
    return send(client, { name, sql, values: storableValues(parameters).map(encodeValue) }, isAlone);
  };
  return {
    connected: (client) => {
      // Where this fails, the first statement fails too, and reports it.
      isDirectConnection(client, statementMs).then(
        (isDirect) => isDirect && direct.add(client),
        () => undefined,
      );
    },
    isDirect: (client) => direct.has(client),
    queryAlone: (client, statement) => query(client, statement, true),
    query: (client, statement) => query(client, statement, false),
  };
}

/** NUL, which PostgreSQL has no text for, becomes the replacement character; so do halves of surrogate pairs. */
export function storableValues(values: readonly unknown[]): unknown[] {
  return values.map((value) => (typeof value === "string" ? value.replaceAll("\0", "\u{FFFD}") : value));
}

/** As the server reads a parameter. */
function encodeValue(value: unknown): string | Buffer | null {
  if (value === null || value === undefined) return null;
  if (value instanceof Uint8Array) return Buffer.from(value.buffer, value.byteOffset, value.byteLength);
  if (typeof value === "string") return value;
  if (typeof value === "number" || typeof value === "bigint" || typeof value === "boolean") return String(value);
  throw new TypeError(`A parameter of a statement is of type ${typeof value}`);
}
