import type { QueryConfig, QueryResult } from "pg";
import { Fault } from "../../../lib/fault.ts";
import { SCHEMA_STEPS } from "../schema.ts";
import { WRITE_LOCK } from "./connection.ts";
import type { PostgresPool } from "./pool.ts";

/** So many of the steps are in `BASELINE` as what they lead to: no PostgreSQL store is older. Each later one is translated. */
const BASELINE_STEPS = 22;

/** In the words of SQLite, as the steps: `forPostgres` makes texts compare by bytes and numbers have 64 bits. */
const BASELINE = `
  CREATE TABLE store (id TEXT NOT NULL, revision INTEGER NOT NULL DEFAULT 0) STRICT;

  CREATE TABLE users (
    id TEXT PRIMARY KEY, login TEXT NOT NULL UNIQUE, friendly_name TEXT NOT NULL, admin INTEGER NOT NULL, created_on INTEGER NOT NULL
  ) STRICT;
  CREATE TABLE group_members (
    name TEXT NOT NULL, user_id TEXT NOT NULL REFERENCES users ON DELETE CASCADE, PRIMARY KEY (name, user_id)
  ) STRICT;
  CREATE INDEX groups_of_user ON group_members (user_id);
  CREATE TABLE dev_keys (
    digest TEXT PRIMARY KEY, user_id TEXT NOT NULL REFERENCES users ON DELETE CASCADE, id TEXT NOT NULL DEFAULT '', label TEXT NOT NULL DEFAULT '',
    created_on INTEGER NOT NULL DEFAULT 0, from_setting INTEGER NOT NULL DEFAULT 0
  ) STRICT;
  CREATE INDEX dev_keys_of_user ON dev_keys (user_id);

  CREATE TABLE packages (
    id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, version TEXT NOT NULL, author_id TEXT NOT NULL REFERENCES users,
    created_on INTEGER NOT NULL, updated_on INTEGER NOT NULL
  ) STRICT;
  CREATE TABLE repositories (
    key TEXT PRIMARY KEY, name TEXT NOT NULL, package_id TEXT REFERENCES packages ON DELETE CASCADE,
    user_id TEXT REFERENCES users ON DELETE CASCADE, since INTEGER NOT NULL
  ) STRICT;
  CREATE INDEX repositories_of_package ON repositories (package_id);
  CREATE INDEX repositories_of_user ON repositories (user_id);
  CREATE TABLE connections (
    id TEXT PRIMARY KEY, package_id TEXT NOT NULL REFERENCES packages ON DELETE CASCADE, key TEXT NOT NULL, name TEXT NOT NULL,
    entity TEXT NOT NULL, UNIQUE (package_id, key)
  ) STRICT;
  CREATE TABLE credentials (
    id TEXT PRIMARY KEY, package_id TEXT NOT NULL REFERENCES packages ON DELETE CASCADE, entity TEXT NOT NULL, name TEXT NOT NULL,
    key_id TEXT NOT NULL, box TEXT NOT NULL, origin TEXT NOT NULL, updated_on INTEGER NOT NULL, UNIQUE (package_id, entity, name)
  ) STRICT;
  CREATE TABLE signing_keys (
    kid TEXT PRIMARY KEY, public_key TEXT NOT NULL, key_id TEXT NOT NULL, box TEXT NOT NULL, created_on INTEGER NOT NULL, retired_on INTEGER,
    rowid AUTONUMBER UNIQUE
  ) STRICT;

  CREATE TABLE images (
    id TEXT PRIMARY KEY, package_id TEXT NOT NULL REFERENCES packages, folder TEXT NOT NULL,
    name TEXT NOT NULL, friendly_name TEXT NOT NULL, description TEXT NOT NULL, version TEXT NOT NULL, ref TEXT NOT NULL,
    dockerfile TEXT NOT NULL, dockerfile_path TEXT NOT NULL, files TEXT NOT NULL,
    state TEXT NOT NULL, since INTEGER NOT NULL, fault TEXT, resolved_id TEXT, exposed TEXT NOT NULL, logs TEXT NOT NULL,
    created_on INTEGER NOT NULL, updated_on INTEGER NOT NULL, mutable INTEGER NOT NULL DEFAULT 0, content_hash TEXT,
    warnings TEXT NOT NULL DEFAULT '[]', digest TEXT, command TEXT NOT NULL DEFAULT '[]', healthcheck TEXT
  ) STRICT;
  CREATE INDEX images_of_package ON images (package_id);
  CREATE INDEX images_by_name ON images (lower(name), id);
  CREATE INDEX images_deleted ON images (id) WHERE state = 'DELETED';
  CREATE INDEX images_at_work ON images (id) WHERE state NOT IN ('READY', 'DELETED') OR fault IS NOT NULL;
  CREATE INDEX images_by_time ON images (since);

  CREATE TABLE containers (
    id TEXT PRIMARY KEY, package_id TEXT NOT NULL REFERENCES packages, image_id TEXT NOT NULL REFERENCES images, folder TEXT NOT NULL,
    name TEXT NOT NULL, friendly_name TEXT NOT NULL, service TEXT NOT NULL UNIQUE, generation INTEGER NOT NULL,
    config TEXT NOT NULL, env TEXT NOT NULL,
    desired_instances INTEGER NOT NULL, wished_by TEXT, wished_on INTEGER NOT NULL, stop_for TEXT,
    state TEXT NOT NULL, since INTEGER NOT NULL, fault TEXT, running_generation INTEGER, phases TEXT,
    attempts INTEGER NOT NULL, not_before INTEGER NOT NULL, last_logs TEXT NOT NULL, last_active INTEGER NOT NULL,
    created_on INTEGER NOT NULL, updated_on INTEGER NOT NULL, deployed TEXT, adopted TEXT, busy_until INTEGER NOT NULL DEFAULT 0,
    wished_for TEXT, paused_on INTEGER, wished_key TEXT, wished_session TEXT, tcp_port INTEGER, addresses TEXT NOT NULL DEFAULT '[]'
  ) STRICT;
  CREATE INDEX containers_of_package ON containers (package_id);
  CREATE INDEX containers_of_image ON containers (image_id);
  CREATE INDEX containers_by_name ON containers (lower(name), id);
  CREATE INDEX containers_at_work ON containers (id) WHERE NOT (state IN ('USER_STOPPED', 'SYSTEM_STOPPED') AND desired_instances = 0);
  CREATE INDEX containers_tried_later ON containers (not_before) WHERE not_before > 0;
  CREATE INDEX containers_adopted ON containers (id) WHERE adopted IS NOT NULL;
  CREATE INDEX containers_paused ON containers (id) WHERE paused_on IS NOT NULL;
  CREATE INDEX containers_wished_key ON containers (wished_key) WHERE wished_key IS NOT NULL;
  CREATE INDEX containers_wished_session ON containers (wished_session) WHERE wished_session IS NOT NULL;
  CREATE UNIQUE INDEX containers_by_tcp_port ON containers (tcp_port) WHERE tcp_port IS NOT NULL;

  CREATE TABLE container_addresses (
    host TEXT NOT NULL, port INTEGER NOT NULL, container_id TEXT NOT NULL REFERENCES containers ON DELETE CASCADE, PRIMARY KEY (host, port)
  ) STRICT;
  CREATE INDEX addresses_of_container ON container_addresses (container_id);

  CREATE TABLE sessions (
    digest TEXT PRIMARY KEY, user_id TEXT NOT NULL REFERENCES users ON DELETE CASCADE, expires_on INTEGER NOT NULL,
    key_digest TEXT REFERENCES dev_keys ON DELETE CASCADE, container_id TEXT REFERENCES containers ON DELETE CASCADE, start TEXT, kind TEXT,
    derived_digest TEXT, parent TEXT, rowid AUTONUMBER UNIQUE
  ) STRICT;
  CREATE INDEX sessions_of_user ON sessions (user_id);
  CREATE INDEX sessions_by_end ON sessions (expires_on);
  CREATE INDEX sessions_of_key ON sessions (key_digest);
  CREATE INDEX sessions_of_container ON sessions (container_id);
  CREATE UNIQUE INDEX sessions_by_derived ON sessions (derived_digest) WHERE derived_digest IS NOT NULL;
  CREATE INDEX sessions_of_parent ON sessions (parent) WHERE parent IS NOT NULL;

  CREATE TABLE tombstones (
    id TEXT PRIMARY KEY, service TEXT NOT NULL, removed_on INTEGER NOT NULL, cleared_on INTEGER, adopted TEXT
  ) STRICT;
  CREATE INDEX tombstones_open ON tombstones (service) WHERE cleared_on IS NULL;
  CREATE TABLE history (
    seq AUTONUMBER PRIMARY KEY, entity TEXT NOT NULL, at INTEGER NOT NULL, from_state TEXT NOT NULL, to_state TEXT NOT NULL,
    event TEXT NOT NULL, cause TEXT, by_user TEXT
  ) STRICT;
  CREATE INDEX history_of_entity ON history (entity, seq);
  CREATE TABLE wakes (
    seq AUTONUMBER PRIMARY KEY, container TEXT NOT NULL, asked_on INTEGER NOT NULL, asked_for TEXT, by_user TEXT,
    begun_on INTEGER, ended_on INTEGER, outcome TEXT, phases TEXT, connect_ms INTEGER, fault TEXT
  ) STRICT;
  CREATE INDEX wakes_of_container ON wakes (container, seq);
  CREATE TABLE audit (
    seq INTEGER PRIMARY KEY, at INTEGER NOT NULL, action TEXT NOT NULL, target TEXT, user_id TEXT, login TEXT, via TEXT,
    address TEXT, request_id TEXT, status INTEGER
  ) STRICT;
  CREATE INDEX audit_by_time ON audit (at);
  CREATE INDEX audit_of_login ON audit (login, seq);
  CREATE INDEX audit_of_action ON audit (action, seq);

  -- Once for a statement, not for each of thousands of rows: all of these would be versions of one row.
  CREATE FUNCTION count_changes() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF EXISTS (SELECT 1 FROM changed) THEN UPDATE store SET revision = revision + 1; END IF;
    RETURN NULL;
  END $$;
  CREATE TRIGGER revision_of_new_container AFTER INSERT ON containers REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION count_changes();
  CREATE TRIGGER revision_of_container AFTER UPDATE ON containers REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION count_changes();
  CREATE TRIGGER revision_of_old_container AFTER DELETE ON containers REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION count_changes();
  CREATE TRIGGER revision_of_new_image AFTER INSERT ON images REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION count_changes();
  CREATE TRIGGER revision_of_image AFTER UPDATE ON images REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION count_changes();
  CREATE TRIGGER revision_of_old_image AFTER DELETE ON images REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION count_changes();

  CREATE FUNCTION own_addresses() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    DELETE FROM container_addresses WHERE container_id = NEW.id;
    INSERT INTO container_addresses (host, port, container_id)
      SELECT value ->> 'host', (value ->> 'port')::bigint, NEW.id FROM json_array_elements(NEW.addresses::json);
    RETURN NULL;
  END $$;
  CREATE TRIGGER addresses_of_new_container AFTER INSERT ON containers FOR EACH ROW WHEN (NEW.addresses <> '[]') EXECUTE FUNCTION own_addresses();
  CREATE TRIGGER addresses_of_container AFTER UPDATE OF addresses ON containers FOR EACH ROW WHEN (NEW.addresses <> OLD.addresses)
    EXECUTE FUNCTION own_addresses();
`;

/** Made anew after each step, with the columns that the tables have then. The server empties them after a crash, which is what they are for. */
const STAGED_TABLES = ["images", "containers"]
  .map(
    (table) => `
  DROP TABLE IF EXISTS staged_${table};
  CREATE UNLOGGED TABLE staged_${table} (LIKE ${table} INCLUDING DEFAULTS, rowid AUTONUMBER);
  CREATE INDEX staged_${table}_by_id ON staged_${table} (id);
  CREATE INDEX staged_${table}_by_folder ON staged_${table} (package_id, folder);`,
  )
  .join("");

/** The statements of a schema step, as PostgreSQL spells them. */
function forPostgres(step: string): string {
  return step
    .replaceAll(/\) STRICT(, WITHOUT ROWID)?;/g, ");")
    .replaceAll(/\bINTEGER\b/g, "BIGINT")
    .replaceAll(/\bBLOB\b/g, "BYTEA")
    .replaceAll(/\bTEXT\b/g, 'TEXT COLLATE "C"')
    .replaceAll(/\bAUTONUMBER\b/g, "BIGINT GENERATED BY DEFAULT AS IDENTITY");
}

const OLDEST_SERVER = 130_000;

/** A step may write a large table anew, and another process may be doing so. */
const MIGRATION_MS = 3_600_000;

/**
 * Brings the database's schema up to date, all in one transaction, which other processes wait for. Faults: STORE_UNAVAILABLE, SETTINGS_INVALID for a server
 * before PostgreSQL 13 and for a database of another encoding than UTF8, DATA_FOLDER_UNUSABLE for a store of a newer berth.
 */
export async function migratePostgres(pool: PostgresPool, steps: readonly string[] = SCHEMA_STEPS): Promise<void> {
  await pool.use(async (client) => {
    const { rows: server } = await client.query<{ version: number; encoding: string }>(
      "SELECT current_setting('server_version_num')::int AS version, current_setting('server_encoding') AS encoding",
    );
    const { version = 0, encoding } = server[0] ?? {};
    if (version < OLDEST_SERVER) throw new Fault("SETTINGS_INVALID", `PostgreSQL 13 or newer is needed; ${pool.name} has version number ${version}.`);
    // Names and logs have all characters: others would fail when they are stored.
    if (encoding !== "UTF8")
      throw new Fault(
        "SETTINGS_INVALID",
        `The database ${pool.name} has the encoding ${encoding}. Create it with ENCODING 'UTF8' TEMPLATE template0, and set BERTH_DATABASE_URL to that one.`,
      );
    // Its types leave the limit out.
    const run = (text: string): Promise<QueryResult> => client.query({ text, query_timeout: MIGRATION_MS } as QueryConfig);
    await run(`BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SET LOCAL statement_timeout TO 0; SET LOCAL lock_timeout TO 0;
      SELECT pg_advisory_xact_lock(${WRITE_LOCK}); CREATE TABLE IF NOT EXISTS schema_version (steps BIGINT NOT NULL);
      CREATE UNLOGGED TABLE IF NOT EXISTS server_run (id text NOT NULL)`);
    try {
      await migrateIn(run, steps);
      await run("COMMIT");
    } catch (error) {
      // A connection that broke has no transaction any more, and its own error is the reason.
      await client.query("ROLLBACK").catch(() => undefined);
      throw error;
    }
  });
}

/** Changes nothing. Faults: STORE_UNAVAILABLE. */
export async function isCurrentSchema(pool: PostgresPool, steps: readonly string[] = SCHEMA_STEPS): Promise<boolean> {
  const table = await pool.query({ sql: "SELECT to_regclass('schema_version') AS name", parameters: [] });
  if ((table.rows[0] as { name: string | null } | undefined)?.name === null) return false;
  const { rows } = await pool.query({ sql: "SELECT steps FROM schema_version", parameters: [] });
  return (rows[0] as { steps: number } | undefined)?.steps === steps.length;
}

async function migrateIn(run: (sql: string) => Promise<QueryResult>, steps: readonly string[]): Promise<void> {
  const { rows } = await run("SELECT steps FROM schema_version");
  const version = (rows[0] as { steps: number } | undefined)?.steps ?? 0;
  if (version > steps.length)
    throw new Fault(
      "DATA_FOLDER_UNUSABLE",
      `The store was written by a newer berth (version ${version}; this one knows ${steps.length}): run that one, or restore a backup from before it.`,
    );
  if (version === steps.length) return;
  if (version === 0) await run(`${forPostgres(BASELINE)}; INSERT INTO schema_version VALUES (${BASELINE_STEPS})`);
  for (const step of steps.slice(Math.max(version, BASELINE_STEPS))) await run(forPostgres(step));
  await run(`${forPostgres(STAGED_TABLES)}; UPDATE schema_version SET steps = ${steps.length}`);
}
