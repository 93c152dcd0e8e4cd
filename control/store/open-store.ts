import Sqlite, { type Database } from "better-sqlite3";
import { randomUUID } from "node:crypto";
import { statSync } from "node:fs";
import type { Clock } from "../../lib/clock.ts";
import { type Metrics, openMetrics } from "../../lib/metrics/open-metrics.ts";
import { type Audit, auditIn } from "./audit.ts";
import { type Containers, containersIn } from "./containers.ts";
import { type Connections, connectionsIn } from "./connections.ts";
import { type Credentials, credentialsIn } from "./credentials.ts";
import { openDataFolder } from "./data-folder.ts";
import { type DevKeys, devKeysIn } from "./dev-keys.ts";
import { type Groups, groupsIn } from "./groups.ts";
import { type History, historyIn } from "./history.ts";
import { type Images, imagesIn } from "./images.ts";
import { refuseDamaged } from "./refuse-damaged.ts";
import { type Repositories, repositoriesIn } from "./repositories.ts";
import { migrate } from "./migrate.ts";
import { type Packages, packagesIn } from "./packages.ts";
import { type Sessions, sessionsIn } from "./sessions.ts";
import { type SigningKeys, signingKeysIn } from "./signing-keys.ts";
import { type Sql, sqlOn } from "./sql.ts";
import { type Staging, stagingIn } from "./staging.ts";
import { storeFault } from "./store-fault.ts";
import { type Tombstones, tombstonesIn } from "./tombstones.ts";
import { type Users, usersIn } from "./users.ts";
import { type Wakes, wakesIn } from "./wakes.ts";

/** Wishes and facts. Every write is durable when its call returns, or is not there at all. */
export type Store = {
  /** Random, made once: what runs with another store's id is none of our business. */
  readonly id: string;
  /** Grows with each change of a container or an image, over the life of the store: a smaller one than before means that changes were lost. */
  revision(): number;
  users: Users;
  sessions: Sessions;
  devKeys: DevKeys;
  groups: Groups;
  packages: Packages;
  repositories: Repositories;
  connections: Connections;
  credentials: Credentials;
  signingKeys: SigningKeys;
  images: Images;
  containers: Containers;
  tombstones: Tombstones;
  /** What is being published: nothing of it is durable before it is recorded. */
  staging: Staging;
  /** Written by the moves themselves. */
  history: Pick<History, "of">;
  audit: Audit;
  wakes: Wakes;
  /** All of `work`'s writes or none; `work` may not wait for anything. `isLarge` as in `sql.ts`. */
  transaction<R>(work: () => R, options?: { isLarge?: boolean }): R;
  /** Calls `task` as soon as the transaction around it is durable, or never. Without a transaction it calls it at once. */
  afterCommit(task: () => void): void;
  close(): void;
};

/** How long a statement waits for another program (a backup, `sqlite3`) that holds the database, in milliseconds. */
const BUSY_TIMEOUT_MS = 5_000;

/** Faults: DATA_FOLDER_UNUSABLE, DATA_FOLDER_IN_USE, STORE_READ_ONLY, STORE_FULL; the last two at any later write too. */
export function openStore(options: { folder: string; clock: Clock; metrics?: Pick<Metrics, "commitSeconds" | "storeBytes"> }): Store {
  const { clock, metrics = openMetrics() } = options;
  const folder = openDataFolder(options.folder);
  let database: Database | undefined;
  try {
    database = new Sqlite(folder.file, { timeout: BUSY_TIMEOUT_MS });
    refuseDamaged(database, options.folder);
    database.pragma("journal_mode = WAL");
    database.pragma("synchronous = FULL");
    database.pragma("foreign_keys = ON");
    // What is staged is no file: only a publish that is recorded needs the disk.
    database.pragma("temp_store = MEMORY");
    migrate(database);
    const sql = sqlOn(database, options.folder, { clock, seconds: metrics.commitSeconds.at() });
    sql.run("DELETE FROM sessions WHERE expires_on <= ?", Math.trunc(clock.now()));
    metrics.storeBytes.look((family) => {
      for (const [part, path] of [
        ["database", folder.file],
        ["log", `${folder.file}-wal`],
      ] as const)
        family.at(part).set(statSync(path, { throwIfNoEntry: false })?.size ?? 0);
    });
    return storeOn(sql, database, folder.close);
  } catch (error) {
    database?.close();
    folder.close();
    throw storeFault(error, options.folder);
  }
}

function storeOn(sql: Sql, database: Database, unlock: () => void): Store {
  sql.run("INSERT INTO store (id) SELECT ? WHERE NOT EXISTS (SELECT 1 FROM store)", randomUUID());
  const [own] = sql.all<{ id: string }>("SELECT id FROM store");
  return {
    id: (own as { id: string }).id,
    revision: () => sql.all<{ revision: number }>("SELECT revision FROM store")[0]?.revision ?? 0,
    users: usersIn(sql),
    sessions: sessionsIn(sql),
    devKeys: devKeysIn(sql),
    groups: groupsIn(sql),
    packages: packagesIn(sql),
    repositories: repositoriesIn(sql),
    connections: connectionsIn(sql),
    credentials: credentialsIn(sql),
    signingKeys: signingKeysIn(sql),
    images: imagesIn(sql),
    containers: containersIn(sql),
    tombstones: tombstonesIn(sql),
    staging: stagingIn(sql),
    history: historyIn(sql),
    audit: auditIn(sql),
    wakes: wakesIn(sql),
    transaction: sql.transaction,
    afterCommit: sql.afterCommit,
    close: () => {
      database.close();
      unlock();
    },
  };
}
