import type { ClientBase } from "pg";

/**
 * Whether this connection is berth's own until it ends. A pooler such as pgbouncer lends the server's connections for a transaction only: what a session
 * keeps (prepared statements, LISTEN) may be missing in the next one, or belong to another client. A pooler is recognized by the number of the server
 * process: it gives a number of its own when a connection begins.
 *
 * With `statementMs`, the server ends each statement of a direct connection after that time: one whose client has given it up would go on, with its process.
 */
export async function isDirectConnection(client: ClientBase, statementMs?: number): Promise<boolean> {
  const { processID } = client as ClientBase & { processID?: number | null };
  const limit = `, CASE pg_backend_pid() WHEN ${processID ?? 0} THEN set_config('statement_timeout', '${statementMs}', false) END`;
  const { rows } = await client.query<{ pid: number }>(`SELECT pg_backend_pid() AS pid${statementMs === undefined ? "" : limit}`);
  return rows[0]?.pid === processID;
}
