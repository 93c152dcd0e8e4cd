import type { ClientBase } from "pg";

/**
 * Whether this connection is berth's own until it ends. A pooler such as pgbouncer lends the server's connections for a transaction only: what a session
 * keeps (prepared statements, LISTEN) may be missing in the next one, or belong to another client. A pooler is recognized by the number of the server
 * process: it gives a number of its own when a connection begins.
 */
export async function isDirectConnection(client: ClientBase): Promise<boolean> {
  const { processID } = client as ClientBase & { processID?: number | null };
  const { rows } = await client.query<{ pid: number }>("SELECT pg_backend_pid() AS pid");
  return rows[0]?.pid === processID;
}
