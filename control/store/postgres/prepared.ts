import type { PoolClient, QueryResult } from "pg";
import type { DatabaseStatement } from "../database.ts";
import { isDirectConnection } from "./pooler.ts";

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
  query(client: PoolClient, statement: DatabaseStatement): Promise<QueryResult>;
  /** Statements without parameters, sent together; the first begins a transaction. Where one fails, the server refuses those after it. */
  queryAll(client: PoolClient, statements: readonly string[]): Promise<QueryResult[]>;
};

/** Behind a pooler nothing is prepared: the statement may be missing on the next connection that it lends. */
export function createPreparedStatements(): PreparedStatements {
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

  const query = (client: PoolClient, { sql, parameters }: DatabaseStatement) => {
    const name = direct.has(client) ? nameOf(sql) : undefined;
    const values = storableValues(parameters);
    return client.query(name === undefined ? { text: sql, values } : { name, text: sql, values });
  };
  return {
    connected: (client) => {
      // Where this fails, the first statement fails too, and reports it.
      isDirectConnection(client).then(
        (isDirect) => isDirect && direct.add(client),
        () => undefined,
      );
    },
    isDirect: (client) => direct.has(client),
    query,
    queryAll: async (client, [begin = "", ...others]) => {
      if (!direct.has(client)) return (await client.query([begin, ...others].join(";"))) as unknown as QueryResult[];
      return Promise.all([client.query(begin), ...others.map((sql) => query(client, { sql, parameters: [] }))]);
    },
  };
}

/** NUL, which PostgreSQL has no text for, becomes the replacement character; so do halves of surrogate pairs. */
export function storableValues(values: readonly unknown[]): unknown[] {
  return values.map((value) => (typeof value === "string" ? value.replaceAll("\0", "\u{FFFD}") : value));
}
