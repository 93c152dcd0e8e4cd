import type { Database } from "better-sqlite3";
import { Fault } from "../../lib/fault.ts";

/**
 * The steps that bring a store up to date, oldest first. A store's `user_version` is the number of steps it has seen, so a
 * step that was ever released is never edited: a change is a new step at the end.
 */
export const SCHEMA_STEPS: readonly string[] = [
  `
  CREATE TABLE store (id TEXT NOT NULL) STRICT;

  CREATE TABLE users (
    id TEXT PRIMARY KEY, login TEXT NOT NULL UNIQUE, friendly_name TEXT NOT NULL, admin INTEGER NOT NULL, created_on INTEGER NOT NULL
  ) STRICT;
  CREATE TABLE sessions (
    digest TEXT PRIMARY KEY, user_id TEXT NOT NULL REFERENCES users ON DELETE CASCADE, expires_on INTEGER NOT NULL
  ) STRICT;
  CREATE INDEX sessions_of_user ON sessions (user_id);
  CREATE INDEX sessions_by_end ON sessions (expires_on);
  CREATE TABLE dev_keys (
    digest TEXT PRIMARY KEY, user_id TEXT NOT NULL REFERENCES users ON DELETE CASCADE
  ) STRICT;
  CREATE INDEX dev_keys_of_user ON dev_keys (user_id);

  CREATE TABLE packages (
    id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, version TEXT NOT NULL, author_id TEXT NOT NULL REFERENCES users,
    created_on INTEGER NOT NULL, updated_on INTEGER NOT NULL
  ) STRICT;

  CREATE TABLE images (
    id TEXT PRIMARY KEY, package_id TEXT NOT NULL REFERENCES packages, folder TEXT NOT NULL,
    name TEXT NOT NULL, friendly_name TEXT NOT NULL, description TEXT NOT NULL, version TEXT NOT NULL, ref TEXT NOT NULL,
    dockerfile TEXT NOT NULL, dockerfile_path TEXT NOT NULL, files TEXT NOT NULL,
    state TEXT NOT NULL, since INTEGER NOT NULL, fault TEXT, resolved_id TEXT, exposed TEXT NOT NULL, logs TEXT NOT NULL,
    created_on INTEGER NOT NULL, updated_on INTEGER NOT NULL
  ) STRICT;
  CREATE INDEX images_of_package ON images (package_id);

  CREATE TABLE containers (
    id TEXT PRIMARY KEY, package_id TEXT NOT NULL REFERENCES packages, image_id TEXT NOT NULL REFERENCES images, folder TEXT NOT NULL,
    name TEXT NOT NULL, friendly_name TEXT NOT NULL, service TEXT NOT NULL UNIQUE, generation INTEGER NOT NULL,
    config TEXT NOT NULL, env TEXT NOT NULL,
    desired_instances INTEGER NOT NULL, wished_by TEXT, wished_on INTEGER NOT NULL, stop_for TEXT,
    state TEXT NOT NULL, since INTEGER NOT NULL, fault TEXT, running_generation INTEGER, address TEXT, phases TEXT,
    attempts INTEGER NOT NULL, not_before INTEGER NOT NULL, last_logs TEXT NOT NULL, last_active INTEGER NOT NULL,
    created_on INTEGER NOT NULL, updated_on INTEGER NOT NULL
  ) STRICT;
  CREATE INDEX containers_of_package ON containers (package_id);
  CREATE INDEX containers_of_image ON containers (image_id);

  CREATE TABLE tombstones (
    id TEXT PRIMARY KEY, service TEXT NOT NULL, removed_on INTEGER NOT NULL, cleared_on INTEGER
  ) STRICT;
  `,
  // Names are looked up and ordered in whatever case; what a mutable tag and a fallback need to know of their image.
  `
  CREATE INDEX containers_by_name ON containers (name COLLATE NOCASE, id);
  CREATE INDEX images_by_name ON images (name COLLATE NOCASE, id);
  ALTER TABLE images ADD COLUMN mutable INTEGER NOT NULL DEFAULT 0;
  ALTER TABLE images ADD COLUMN content_hash TEXT;
  ALTER TABLE images ADD COLUMN warnings TEXT NOT NULL DEFAULT '[]';
  `,
  // Developer keys that users create and revoke, and groups that share packages. All keys until now came from the settings.
  `
  ALTER TABLE dev_keys ADD COLUMN id TEXT NOT NULL DEFAULT '';
  ALTER TABLE dev_keys ADD COLUMN label TEXT NOT NULL DEFAULT '';
  ALTER TABLE dev_keys ADD COLUMN created_on INTEGER NOT NULL DEFAULT 0;
  ALTER TABLE dev_keys ADD COLUMN from_setting INTEGER NOT NULL DEFAULT 0;
  UPDATE dev_keys SET id = lower(hex(randomblob(4))), from_setting = 1;
  ALTER TABLE sessions ADD COLUMN key_digest TEXT REFERENCES dev_keys ON DELETE CASCADE;
  CREATE INDEX sessions_of_key ON sessions (key_digest);
  CREATE TABLE group_members (
    name TEXT NOT NULL, user_id TEXT NOT NULL REFERENCES users ON DELETE CASCADE, PRIMARY KEY (name, user_id)
  ) STRICT;
  CREATE INDEX groups_of_user ON group_members (user_id);
  `,
  // What became of each container and image, and why.
  `
  CREATE TABLE history (
    seq INTEGER PRIMARY KEY, entity TEXT NOT NULL, at INTEGER NOT NULL, from_state TEXT NOT NULL, to_state TEXT NOT NULL,
    event TEXT NOT NULL, cause TEXT, by_user TEXT
  ) STRICT;
  CREATE INDEX history_of_entity ON history (entity, seq);
  `,
  // Entities of packages, credentials (sealed: the key lies elsewhere), and the sessions that containers are given.
  `
  CREATE TABLE connections (
    id TEXT PRIMARY KEY, package_id TEXT NOT NULL REFERENCES packages ON DELETE CASCADE, key TEXT NOT NULL, name TEXT NOT NULL,
    entity TEXT NOT NULL, UNIQUE (package_id, key)
  ) STRICT;
  CREATE TABLE credentials (
    id TEXT PRIMARY KEY, package_id TEXT NOT NULL REFERENCES packages ON DELETE CASCADE, entity TEXT NOT NULL, name TEXT NOT NULL,
    key_id TEXT NOT NULL, box TEXT NOT NULL, origin TEXT NOT NULL, updated_on INTEGER NOT NULL, UNIQUE (package_id, entity, name)
  ) STRICT;
  ALTER TABLE sessions ADD COLUMN container_id TEXT REFERENCES containers ON DELETE CASCADE;
  ALTER TABLE sessions ADD COLUMN start TEXT;
  CREATE INDEX sessions_of_container ON sessions (container_id);
  `,
  // Lists leave out what belongs to deleted images, which are few.
  `
  CREATE INDEX images_deleted ON images (id) WHERE state = 'DELETED';
  `,
  // Keys that docker tokens are signed with; the private part is sealed like a credential.
  `
  CREATE TABLE signing_keys (
    kid TEXT PRIMARY KEY, public_key TEXT NOT NULL, key_id TEXT NOT NULL, box TEXT NOT NULL,
    created_on INTEGER NOT NULL, retired_on INTEGER
  ) STRICT;
  `,
  // What containers run, so that no registry is rid of it. Of those that run already, the image's row is all that is known.
  `
  ALTER TABLE images ADD COLUMN digest TEXT;
  ALTER TABLE containers ADD COLUMN deployed TEXT;
  UPDATE containers SET deployed = (SELECT json_object('ref', ref) FROM images WHERE id = image_id) WHERE running_generation IS NOT NULL;
  `,
  // Every period looks for the few of which something becomes, and reads nothing of the many that rest.
  `
  CREATE INDEX containers_at_work ON containers (id) WHERE NOT (state IN ('USER_STOPPED', 'SYSTEM_STOPPED') AND desired_instances = 0);
  CREATE INDEX containers_tried_later ON containers (not_before) WHERE not_before > 0;
  CREATE INDEX images_at_work ON images (id) WHERE state NOT IN ('READY', 'DELETED') OR fault IS NOT NULL;
  CREATE INDEX images_by_time ON images (since);
  `,
  // Instances that another program made and that were taken over: the one that is meant, by the orchestrator's own id.
  `
  ALTER TABLE containers ADD COLUMN adopted TEXT;
  ALTER TABLE tombstones ADD COLUMN adopted TEXT;
  `,
  // Who did what.
  `
  CREATE TABLE audit (
    seq INTEGER PRIMARY KEY, at INTEGER NOT NULL, action TEXT NOT NULL, target TEXT, user_id TEXT, login TEXT, via TEXT,
    address TEXT, request_id TEXT, status INTEGER
  ) STRICT;
  CREATE INDEX audit_by_time ON audit (at);
  CREATE INDEX audit_of_login ON audit (login, seq);
  `,
  // How long a container has reported that it is busy, what its last start was for, and the last starts of each container with what each part of them took.
  `
  ALTER TABLE containers ADD COLUMN busy_until INTEGER NOT NULL DEFAULT 0;
  ALTER TABLE containers ADD COLUMN wished_for TEXT;
  CREATE TABLE wakes (
    seq INTEGER PRIMARY KEY, container TEXT NOT NULL, asked_on INTEGER NOT NULL, asked_for TEXT, by_user TEXT,
    begun_on INTEGER, ended_on INTEGER, outcome TEXT, phases TEXT, connect_ms INTEGER, fault TEXT
  ) STRICT;
  CREATE INDEX wakes_of_container ON wakes (container, seq);
  `,
  // Each period asks for these as well: few, or none, of all that are or ever were.
  `
  CREATE INDEX containers_adopted ON containers (id) WHERE adopted IS NOT NULL;
  CREATE INDEX tombstones_open ON tombstones (service) WHERE cleared_on IS NULL;
  `,
  // Who sleeps frozen instead of being ended; few of many, and each period asks for them.
  `
  ALTER TABLE containers ADD COLUMN paused_on INTEGER;
  CREATE INDEX containers_paused ON containers (id) WHERE paused_on IS NOT NULL;
  `,
  // Who pushed what is looked for among all pushes whenever a user looks at a repository, and not among all that was ever done.
  `
  CREATE INDEX audit_of_action ON audit (action, seq);
  `,
  // Each repository has one owner. Of those that several packages used until now, the first published one is the owner; then comes who pushed first,
  // then the package that names it first in its container.json. An image's name counts without case and separators.
  `
  CREATE TABLE repositories (
    key TEXT PRIMARY KEY, name TEXT NOT NULL, package_id TEXT REFERENCES packages ON DELETE CASCADE,
    user_id TEXT REFERENCES users ON DELETE CASCADE, since INTEGER NOT NULL
  ) STRICT;
  CREATE INDEX repositories_of_package ON repositories (package_id);
  CREATE INDEX repositories_of_user ON repositories (user_id);
  INSERT OR IGNORE INTO repositories
    SELECT replace(replace(replace(lower(name), '-', ''), '_', ''), '.', ''), 'datagrok/' || name, package_id, NULL, created_on
    FROM images ORDER BY created_on, id;
  INSERT OR IGNORE INTO repositories
    SELECT replace(replace(replace(lower(own), '-', ''), '_', ''), '.', ''), 'datagrok/' || lower(own), id, NULL, created_on
    FROM (SELECT id, created_on, CASE WHEN name LIKE '@%/%' THEN substr(name, instr(name, '/') + 1) ELSE name END AS own FROM packages)
    ORDER BY created_on, id;
  INSERT OR IGNORE INTO repositories
    SELECT replace(replace(replace(lower(own), '-', ''), '_', ''), '.', ''), 'datagrok/' || own, NULL, user_id, at
    FROM (
      SELECT audit.seq, audit.at, users.id AS user_id,
        substr(target, 10, instr(replace(substr(target, 10), '@', ':') || ':', ':') - 1) AS own
      FROM audit JOIN users ON users.login = audit.login WHERE action = 'imagePushed' AND target LIKE 'datagrok/%'
    )
    WHERE own <> '' AND instr(own, '/') = 0 ORDER BY seq;
  INSERT OR IGNORE INTO repositories
    SELECT replace(replace(replace(lower(own), '-', ''), '_', ''), '.', ''), 'datagrok/' || own, package_id, NULL, created_on
    FROM (
      SELECT id, package_id, created_on,
        substr(ref, instr(ref, 'datagrok/') + 9, instr(replace(substr(ref, instr(ref, 'datagrok/') + 9), '@', ':') || ':', ':') - 1) AS own
      FROM images WHERE ref LIKE 'datagrok/%' OR ref LIKE '%/datagrok/%'
    )
    WHERE own <> '' AND instr(own, '/') = 0 ORDER BY created_on, id;
  `,
  // Counts the changes of containers and images, so that who remembers the number notices a store that went back: a log that was cut, an old backup.
  `
  ALTER TABLE store ADD COLUMN revision INTEGER NOT NULL DEFAULT 0;
  CREATE TRIGGER revision_of_new_container AFTER INSERT ON containers BEGIN UPDATE store SET revision = revision + 1; END;
  CREATE TRIGGER revision_of_container AFTER UPDATE ON containers BEGIN UPDATE store SET revision = revision + 1; END;
  CREATE TRIGGER revision_of_old_container AFTER DELETE ON containers BEGIN UPDATE store SET revision = revision + 1; END;
  CREATE TRIGGER revision_of_new_image AFTER INSERT ON images BEGIN UPDATE store SET revision = revision + 1; END;
  CREATE TRIGGER revision_of_image AFTER UPDATE ON images BEGIN UPDATE store SET revision = revision + 1; END;
  CREATE TRIGGER revision_of_old_image AFTER DELETE ON images BEGIN UPDATE store SET revision = revision + 1; END;
  `,
  // Which sessions have administration; the tokens that containers are given in their place; and what was started with a session or a key, which ends with them.
  `
  ALTER TABLE sessions ADD COLUMN kind TEXT;
  ALTER TABLE sessions ADD COLUMN derived_digest TEXT;
  ALTER TABLE sessions ADD COLUMN parent TEXT;
  CREATE UNIQUE INDEX sessions_by_derived ON sessions (derived_digest) WHERE derived_digest IS NOT NULL;
  CREATE INDEX sessions_of_parent ON sessions (parent) WHERE parent IS NOT NULL;
  ALTER TABLE containers ADD COLUMN wished_key TEXT;
  ALTER TABLE containers ADD COLUMN wished_session TEXT;
  CREATE INDEX containers_wished_key ON containers (wished_key) WHERE wished_key IS NOT NULL;
  CREATE INDEX containers_wished_session ON containers (wished_session) WHERE wished_session IS NOT NULL;
  `,
  // An address is one container's. Of those that share one, the owner is unknown: each is verified.
  `
  UPDATE containers SET address = NULL, state = CASE state WHEN 'STARTED' THEN 'CHECKING' ELSE state END
    WHERE (json_extract(address, '$.host'), json_extract(address, '$.port')) IN (
      SELECT json_extract(address, '$.host'), json_extract(address, '$.port') FROM containers WHERE address IS NOT NULL GROUP BY 1, 2 HAVING COUNT(*) > 1
    );
  CREATE UNIQUE INDEX containers_by_address ON containers (json_extract(address, '$.host'), json_extract(address, '$.port')) WHERE address IS NOT NULL;
  `,
  // Each TCP listener has its port for as long as its container exists: other programs keep the address.
  `
  ALTER TABLE containers ADD COLUMN tcp_port INTEGER;
  CREATE UNIQUE INDEX containers_by_tcp_port ON containers (tcp_port) WHERE tcp_port IS NOT NULL;
  `,
  // What an image runs, and its own health check: they decide when its containers count as started.
  `
  ALTER TABLE images ADD COLUMN command TEXT NOT NULL DEFAULT '[]';
  ALTER TABLE images ADD COLUMN healthcheck TEXT;
  `,
  // A container may have several addresses. Triggers keep the table whose key makes each of them one container's.
  `
  ALTER TABLE containers ADD COLUMN addresses TEXT NOT NULL DEFAULT '[]';
  UPDATE containers SET addresses = json_array(json(address)) WHERE address IS NOT NULL;
  DROP INDEX containers_by_address;
  ALTER TABLE containers DROP COLUMN address;
  CREATE TABLE container_addresses (
    host TEXT NOT NULL, port INTEGER NOT NULL, container_id TEXT NOT NULL REFERENCES containers ON DELETE CASCADE, PRIMARY KEY (host, port)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX addresses_of_container ON container_addresses (container_id);
  INSERT INTO container_addresses
    SELECT json_extract(value, '$.host'), json_extract(value, '$.port'), containers.id FROM containers, json_each(addresses);
  CREATE TRIGGER addresses_of_new_container AFTER INSERT ON containers WHEN NEW.addresses <> '[]' BEGIN
    INSERT INTO container_addresses SELECT json_extract(value, '$.host'), json_extract(value, '$.port'), NEW.id FROM json_each(NEW.addresses);
  END;
  CREATE TRIGGER addresses_of_container AFTER UPDATE OF addresses ON containers WHEN NEW.addresses <> OLD.addresses BEGIN
    DELETE FROM container_addresses WHERE container_id = NEW.id;
    INSERT INTO container_addresses SELECT json_extract(value, '$.host'), json_extract(value, '$.port'), NEW.id FROM json_each(NEW.addresses);
  END;
  `,
  // What lies in the data folder where one process has the store, and in rows where several share it. The bytes of a file are in parts.
  `
  CREATE TABLE published_files (
    folder TEXT NOT NULL, path TEXT NOT NULL, part INTEGER NOT NULL, mode INTEGER NOT NULL, bytes BLOB NOT NULL, PRIMARY KEY (folder, path, part)
  ) STRICT;
  CREATE TABLE shared_secrets (name TEXT PRIMARY KEY, key_id TEXT NOT NULL, box TEXT NOT NULL) STRICT;
  CREATE TABLE shared_texts (name TEXT PRIMARY KEY, text TEXT NOT NULL) STRICT;
  `,
  // Earlier versions of packages, to return to. The folders of a version are copied when a newer one replaces it: then their digests are known.
  `
  CREATE TABLE package_versions (
    id TEXT PRIMARY KEY, package_id TEXT NOT NULL REFERENCES packages ON DELETE CASCADE, number INTEGER NOT NULL, version TEXT NOT NULL,
    published_on INTEGER NOT NULL, by_user TEXT, restores INTEGER, replaced_on INTEGER, UNIQUE (package_id, number)
  ) STRICT;
  CREATE TABLE version_folders (
    version_id TEXT NOT NULL REFERENCES package_versions ON DELETE CASCADE, folder TEXT NOT NULL, container TEXT NOT NULL, image TEXT NOT NULL,
    ref TEXT NOT NULL, digest TEXT, resolved_id TEXT, mutable INTEGER NOT NULL, content_hash TEXT, dockerfile TEXT NOT NULL,
    dockerfile_path TEXT NOT NULL, files TEXT NOT NULL, warnings TEXT NOT NULL, config TEXT NOT NULL, env TEXT NOT NULL,
    image_state TEXT NOT NULL, container_state TEXT NOT NULL, PRIMARY KEY (version_id, folder)
  ) STRICT;
  `,
  // The phases of starts that failed.
  `
  ALTER TABLE wakes ADD COLUMN reached TEXT;
  `,
  // Measurements of the server (series '') and of its containers over time: a ring of points for each length of interval.
  `
  CREATE TABLE series_points (
    step INTEGER NOT NULL, at INTEGER NOT NULL, series TEXT NOT NULL, requests INTEGER NOT NULL, errors INTEGER NOT NULL, latency TEXT NOT NULL,
    starts INTEGER NOT NULL, failed_starts INTEGER NOT NULL, start_times TEXT NOT NULL, slowest_start_ms INTEGER NOT NULL,
    connections INTEGER NOT NULL, cpu_ms INTEGER, memory_bytes INTEGER, reserved_millicores INTEGER NOT NULL, reserved_bytes INTEGER NOT NULL,
    PRIMARY KEY (step, at, series)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX points_of_series ON series_points (series, step, at);
  `,
  // When and from where a session was opened, for users who look for one that is not theirs.
  `
  ALTER TABLE sessions ADD COLUMN created_on INTEGER;
  ALTER TABLE sessions ADD COLUMN address TEXT;
  `,
  // What each container did in each hour of the last weeks, the hours in which it is kept warm besides its keep_warm, and what cold starts cost.
  `
  CREATE TABLE use_weeks (container TEXT NOT NULL, week INTEGER NOT NULL, hours TEXT NOT NULL, PRIMARY KEY (container, week)) STRICT, WITHOUT ROWID;
  ALTER TABLE containers ADD COLUMN warm_up TEXT;
  CREATE INDEX containers_warm ON containers (id) WHERE warm_up IS NOT NULL;
  ALTER TABLE series_points ADD COLUMN waits INTEGER NOT NULL DEFAULT 0;
  ALTER TABLE series_points ADD COLUMN wait_ms INTEGER NOT NULL DEFAULT 0;
  ALTER TABLE series_points ADD COLUMN run_ms INTEGER NOT NULL DEFAULT 0;
  ALTER TABLE series_points ADD COLUMN run_mb_seconds INTEGER NOT NULL DEFAULT 0;
  `,
  // Which user at the sign-in provider is which here, and who is blocked.
  `
  ALTER TABLE users ADD COLUMN oidc_issuer TEXT;
  ALTER TABLE users ADD COLUMN oidc_subject TEXT;
  ALTER TABLE users ADD COLUMN blocked_on INTEGER;
  CREATE UNIQUE INDEX users_by_subject ON users (oidc_issuer, oidc_subject) WHERE oidc_subject IS NOT NULL;
  `,
  // Webhooks, and the events that wait for them.
  `
  CREATE TABLE webhooks (
    id TEXT PRIMARY KEY, url TEXT NOT NULL, event_types TEXT NOT NULL, package_name TEXT, key_id TEXT NOT NULL, box TEXT NOT NULL,
    created_on INTEGER NOT NULL, failures INTEGER NOT NULL, dropped INTEGER NOT NULL, stopped_on INTEGER, stop_reason TEXT
  ) STRICT;
  CREATE TABLE webhook_deliveries (
    seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, webhook_id TEXT NOT NULL, type TEXT NOT NULL,
    subject TEXT NOT NULL, event_id TEXT NOT NULL, event TEXT NOT NULL, queued_on INTEGER NOT NULL, attempts INTEGER NOT NULL,
    not_before INTEGER NOT NULL, ended_on INTEGER, result TEXT, tried_on INTEGER, status INTEGER, ms INTEGER, failure TEXT
  ) STRICT;
  CREATE INDEX deliveries_waiting ON webhook_deliveries (webhook_id, subject, seq) WHERE ended_on IS NULL;
  CREATE INDEX deliveries_of_webhook ON webhook_deliveries (webhook_id, seq);
  `,
  // CI jobs that publish with tokens of their issuer, and what they received in exchange. Each token of an issuer is exchanged once.
  `
  CREATE TABLE trusted_publishers (
    name TEXT PRIMARY KEY, issuer TEXT NOT NULL, audience TEXT NOT NULL, claims TEXT NOT NULL,
    user_id TEXT NOT NULL REFERENCES users ON DELETE CASCADE, packages TEXT NOT NULL, repositories TEXT NOT NULL, rights TEXT NOT NULL,
    lifetime_minutes INTEGER NOT NULL, created_on INTEGER NOT NULL
  ) STRICT;
  CREATE INDEX publishers_of_issuer ON trusted_publishers (issuer);
  CREATE INDEX publishers_of_user ON trusted_publishers (user_id);
  CREATE TABLE job_tokens (
    digest TEXT PRIMARY KEY, publisher TEXT NOT NULL REFERENCES trusted_publishers ON DELETE CASCADE, source TEXT NOT NULL UNIQUE,
    job TEXT NOT NULL, expires_on INTEGER NOT NULL, kept_until INTEGER NOT NULL
  ) STRICT;
  CREATE INDEX job_tokens_of_publisher ON job_tokens (publisher);
  CREATE INDEX job_tokens_by_end ON job_tokens (kept_until);
  `,
  // Since when a container runs: some have a maximum.
  `
  ALTER TABLE containers ADD COLUMN running_since INTEGER;
  UPDATE containers SET running_since = since WHERE running_generation IS NOT NULL;
  `,
  // When a developer key was used last, so that one that nothing needs can be revoked.
  `
  ALTER TABLE dev_keys ADD COLUMN last_used_on INTEGER;
  `,
  // Further replicas of a container: rows of their own, so that each starts, is checked and stops as a container does.
  `
  ALTER TABLE containers ADD COLUMN replica_of TEXT;
  ALTER TABLE containers ADD COLUMN replica INTEGER;
  CREATE UNIQUE INDEX containers_by_replica ON containers (replica_of, replica) WHERE replica_of IS NOT NULL;
  `,
  // The sign-in provider's own session behind each session that began there: each of the two ends the other.
  `
  CREATE TABLE provider_sessions (
    digest TEXT PRIMARY KEY REFERENCES sessions ON DELETE CASCADE, issuer TEXT NOT NULL, subject TEXT NOT NULL, sid TEXT, id_token TEXT
  ) STRICT;
  CREATE INDEX provider_sessions_by_sid ON provider_sessions (issuer, sid);
  CREATE INDEX provider_sessions_by_subject ON provider_sessions (issuer, subject);
  `,
];

/** How many steps a store has seen. Faults: DATA_FOLDER_UNUSABLE for more than there are, whose steps are unknown. */
export function knownVersion(database: Database, steps: readonly string[] = SCHEMA_STEPS): number {
  const version = Number(database.pragma("user_version", { simple: true }));
  if (version <= steps.length) return version;
  throw new Fault(
    "DATA_FOLDER_UNUSABLE",
    `The store was written by a newer berth (version ${version}; this one knows ${steps.length}): run that one, or restore a backup from before it.`,
  );
}

/**
 * All missing steps in one transaction, as on PostgreSQL: a process that dies in between, or a step that fails, leaves the store as it was. Each transaction of
 * its own would wait for the disk: a new store has dozens of steps.
 */
export function migrate(database: Database, steps: readonly string[] = SCHEMA_STEPS): void {
  const version = knownVersion(database, steps);
  if (version === steps.length) return;
  database.transaction(() => {
    for (const step of steps.slice(version)) database.exec(step);
    database.pragma(`user_version = ${steps.length}`);
  })();
}
