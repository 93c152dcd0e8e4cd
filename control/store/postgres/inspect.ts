import type { Clock } from "../../../lib/clock.ts";
import { SCHEMA_STEPS } from "../schema.ts";
import { parsePostgresAddress, type PostgresOptions } from "./address.ts";
import { openPostgresPool } from "./pool.ts";

/** What `berth doctor` wants to know of the database. `steps`: of the schema; undefined: it has no store yet. */
export type PostgresReport = {
  name: string;
  version: string;
  steps: number | undefined;
  /** How many steps this berth has. */
  ownSteps: number;
  roundTripMs: number;
  /** The server keeps each acknowledged commit: `fsync` and `synchronous_commit`. */
  isDurable: boolean;
  isStandby: boolean;
  bytes: number;
  /** How many the server has for users that are no superuser. */
  connections: number;
  /** The control processes that lived within the last minute. */
  processes: number;
};

/** Faults: STORE_UNAVAILABLE, SETTINGS_INVALID. */
export async function inspectPostgres(options: PostgresOptions, clock: Clock): Promise<PostgresReport> {
  const pool = await openPostgresPool(parsePostgresAddress(options), { connections: 2, clock });
  const read = async <R>(sql: string) => (await pool.query({ sql, parameters: [] })).rows[0] as R;
  try {
    type Server = Pick<PostgresReport, "version" | "isDurable" | "isStandby" | "bytes" | "connections">;
    const server = await read<Server & { table: string | null; members: string | null }>(
      `SELECT current_setting('server_version') AS version, pg_is_in_recovery() AS "isStandby", pg_database_size(current_database()) AS bytes,
        current_setting('fsync') = 'on' AND current_setting('synchronous_commit') <> 'off' AS "isDurable", to_regclass('schema_version')::text AS "table", to_regclass('control_processes')::text AS members,
        current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int AS connections`,
    );
    const { table, members, ...facts } = server;
    const steps = table === null ? undefined : (await read<{ steps: number } | undefined>("SELECT steps FROM schema_version"))?.steps;
    const living = "SELECT count(*) AS count FROM control_processes WHERE seen_at > clock_timestamp() - interval '1 minute'";
    const { count: processes } = members === null ? { count: 0 } : await read<{ count: number }>(living);
    const from = clock.monotonic();
    await read("SELECT 1");
    return { ...facts, processes, name: pool.name, steps, ownSteps: SCHEMA_STEPS.length, roundTripMs: clock.monotonic() - from };
  } finally {
    await pool.close();
  }
}
