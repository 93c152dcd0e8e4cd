import type { Database as SqliteDatabase } from "better-sqlite3";
import { randomUUID } from "node:crypto";
import { statSync } from "node:fs";
import type { Clock } from "../../lib/clock.ts";
import { Fault } from "../../lib/fault.ts";
import { type Metrics, openMetrics } from "../../lib/metrics/open-metrics.ts";
import { type Audit, createAudit } from "./audit.ts";
import { newestBackup } from "./backup.ts";
import { type Containers, createContainers, type Tombstones, createTombstones } from "./containers.ts";
import {
  type Connections,
  createConnections,
  createCredentials,
  createSigningKeys,
  type CredentialQueries,
  type SigningKeyQueries,
} from "./credentials.ts";
import { openDataFolder } from "./data-folder.ts";
import { createDatabase, type Database } from "./database.ts";
import { type History, createHistory, type Wakes, createWakes } from "./history.ts";
import { type Images, createImages } from "./images.ts";
import { migrate } from "./schema.ts";
import { createPackages, createRepositories, type Packages, type Repositories } from "./packages.ts";
import { createQueries, SQLITE_DIALECT } from "./queries.ts";
import { createSessions, type Sessions } from "./sessions.ts";
import { openSqlite, openSqliteReader, sqliteConnection } from "./sqlite.ts";
import { type Staging, openStaging } from "./staging.ts";
import { storeFault } from "./store-fault.ts";
import { createDevKeys, createGroups, createUsers, type DevKeys, type Groups, type Users } from "./users.ts";

/** Desired and observed state. Every write is durable when its call resolves, or is not there at all. */
export type Store = {
  /** Random, made once: what runs with another store's id is none of our business. */
  readonly id: string;
  /** Grows with each change of a container or an image, over the life of the store: a smaller one than before means that changes were lost. */
  revision(): Promise<number>;
  users: Users;
  sessions: Sessions;
  devKeys: DevKeys;
  groups: Groups;
  packages: Packages;
  repositories: Repositories;
  connections: Connections;
  credentials: CredentialQueries;
  signingKeys: SigningKeyQueries;
  images: Images;
  containers: Containers;
  tombstones: Tombstones;
  /** Written by the moves themselves. */
  history: Pick<History, "of">;
  audit: Audit;
  /** What is being published: nothing of it is durable before it is recorded. */
  staging: Staging;
  wakes: Wakes;
  transaction: Database["transaction"];
  afterCommit: Database["afterCommit"];
  /** Waits for the writes that are under way. */
  close(): Promise<void>;
};

/** Faults: DATA_FOLDER_UNUSABLE, DATA_FOLDER_IN_USE, STORE_READ_ONLY, STORE_FULL; the last two at any later write too. */
export async function openStore(options: { folder: string; clock: Clock; metrics?: Pick<Metrics, "commitSeconds" | "storeBytes"> }): Promise<Store> {
  const { clock, metrics = openMetrics() } = options;
  const folder = openDataFolder(options.folder);
  const connections: SqliteDatabase[] = [];
  try {
    const writer = openSqlite(folder.file);
    connections.push(writer);
    refuseDamaged(writer, options.folder);
    writer.pragma("journal_mode = WAL");
    writer.pragma("synchronous = FULL");
    writer.pragma("foreign_keys = ON");
    // What is staged is no file: only a publish that is recorded needs the disk.
    writer.pragma("temp_store = MEMORY");
    migrate(writer);
    const reader = openSqliteReader(folder.file);
    connections.push(reader);
    const commits = { clock, seconds: metrics.commitSeconds.at() };
    const database = createDatabase(sqliteConnection(writer, options.folder), sqliteConnection(reader, options.folder), commits);
    metrics.storeBytes.look((family) => {
      for (const [part, path] of [
        ["database", folder.file],
        ["log", `${folder.file}-wal`],
      ] as const)
        family.at(part).set(statSync(path, { throwIfNoEntry: false })?.size ?? 0);
    });
    const close = async () => {
      for (const connection of connections) connection.close();
      folder.close();
    };
    const store = await storeOn(database, () => database.close(close));
    await store.sessions.removeExpired(clock.now());
    return store;
  } catch (error) {
    for (const connection of connections) connection.close();
    folder.close();
    throw storeFault(error, options.folder);
  }
}

async function storeOn(database: Database, close: () => Promise<void>): Promise<Store> {
  const queries = createQueries(database, SQLITE_DIALECT);
  const { builder, select, run } = queries;
  const own = select(() => builder.selectFrom("store").select(["id", "revision"]));
  if ((await own({})).length === 0)
    await run((values: { id: string }) => builder.insertInto("store").values({ id: values.id, revision: 0 }))({ id: randomUUID() });
  const [{ id } = { id: "" }] = await own({});
  const history = createHistory(queries);
  const wakes = createWakes(queries);
  return {
    id,
    revision: async () => (await own({}))[0]?.revision ?? 0,
    users: createUsers(queries),
    sessions: createSessions(queries),
    devKeys: createDevKeys(queries),
    groups: createGroups(queries),
    packages: createPackages(queries),
    repositories: createRepositories(queries),
    connections: createConnections(queries),
    credentials: createCredentials(queries),
    signingKeys: createSigningKeys(queries),
    images: createImages(queries, history),
    containers: createContainers(queries, { history, wakes }),
    tombstones: createTombstones(queries),
    history,
    audit: createAudit(queries),
    wakes,
    staging: await openStaging(queries, history),
    transaction: database.transaction,
    afterCommit: database.afterCommit,
    close,
  };
}

/**
 * Found now, damage is one sentence; found later, it is some container's failure, and requests were acknowledged meanwhile that a backup does not have.
 * Every page is read, some hundreds of megabytes in a second; 10 000 containers take about 50 ms. Faults: DATA_FOLDER_UNUSABLE, with the newest backup.
 */
function refuseDamaged(database: SqliteDatabase, folder: string): void {
  try {
    const damage = String(database.pragma("quick_check(1)", { simple: true }));
    if (damage !== "ok") throw new Fault("DATA_FOLDER_UNUSABLE", `The store is damaged (${folder}, ${damage.replaceAll(/\s+/g, " ")}).`);
  } catch (error) {
    const fault = storeFault(error, folder);
    if (!(fault instanceof Fault) || fault.code !== "DATA_FOLDER_UNUSABLE") throw fault;
    const backup = newestBackup(folder);
    const next = backup === undefined ? "No backup of it is known." : `Its newest backup is ${backup}; \`berth restore ${backup}\` takes it.`;
    throw new Fault("DATA_FOLDER_UNUSABLE", `${fault.message} ${next}`, { cause: error });
  }
}
