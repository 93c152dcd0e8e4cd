import type { Database as SqliteDatabase } from "better-sqlite3";
import { randomUUID } from "node:crypto";
import { statSync } from "node:fs";
import type { Clock } from "../../lib/clock.ts";
import { Fault } from "../../lib/fault.ts";
import type { Log } from "../../lib/log.ts";
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
import { type DataFolder, openDataFolder } from "./data-folder.ts";
import { type CommitMetrics, createDatabase, type Database, type Fence } from "./database.ts";
import { type Dialect, POSTGRES_DIALECT, SQLITE_DIALECT } from "./dialects.ts";
import { type History, createHistory, type Wakes, createWakes } from "./history.ts";
import { type Images, createImages } from "./images.ts";
import { migrate } from "./schema.ts";
import { createPackageVersions, type PackageVersions } from "./package-versions.ts";
import { createPackages, createRepositories, type Packages, type Repositories } from "./packages.ts";
import { parsePostgresAddress, type PostgresOptions } from "./postgres/address.ts";
import { postgresConnection, postgresReader } from "./postgres/connection.ts";
import { openPostgresPool } from "./postgres/pool.ts";
import { isCurrentSchema, migratePostgres } from "./postgres/schema.ts";
import { createPublishedFiles, type PublishedFiles } from "./published-files.ts";
import { createQueries } from "./queries.ts";
import { createSharedSecrets, createSharedTexts, type SharedSecrets, type SharedTexts } from "./secrets.ts";
import { createSeries, type Series } from "./series.ts";
import { createProviderSessions, createSessions, type ProviderSessions, type Sessions } from "./sessions.ts";
import { createUseWeeks, type UseWeeks } from "./use-weeks.ts";
import { openSqlite, openSqliteReader, sqliteConnection } from "./sqlite.ts";
import { createJobTokens, createTrustedPublishers, type JobTokens, type TrustedPublishers } from "./trusted-publishers.ts";
import { type Staging, openStaging } from "./staging.ts";
import { storeFault } from "./store-fault.ts";
import { createWebhooks, type Webhooks } from "./webhooks.ts";
import { createDevKeys, createGroups, createUsers, type DevKeys, type Groups, type Users } from "./users.ts";

/** Desired and observed state. Every write is durable when its call resolves, or is not there at all; except for transactions with `isDeferred`. */
export type Store = {
  /** Random, made once: what runs with another store's id is none of our business. */
  readonly id: string;
  /** Grows with each change of a container or an image, over the life of the store: a smaller one than before means that changes were lost. */
  revision(): Promise<number>;
  users: Users;
  sessions: Sessions;
  providerSessions: ProviderSessions;
  devKeys: DevKeys;
  groups: Groups;
  trustedPublishers: TrustedPublishers;
  jobTokens: JobTokens;
  packages: Packages;
  repositories: Repositories;
  packageVersions: PackageVersions;
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
  /** Measurements over time. */
  series: Series;
  /** What each container did in each hour of the last weeks. */
  useWeeks: UseWeeks;
  publishedFiles: PublishedFiles;
  sharedSecrets: SharedSecrets;
  sharedTexts: SharedTexts;
  /** The events of webhooks are written by the moves themselves. */
  webhooks: Webhooks;
  /** Several processes may have it, on other machines: what lies in a data folder is nowhere else. */
  readonly isShared: boolean;
  transaction: Database["transaction"];
  afterCommit: Database["afterCommit"];
  requireDurable: Database["requireDurable"];
  queueAs: Database["queueAs"];
  /** Calls `listener` when what was committed with `isDeferred` may have been undone; maybe also when it was not. */
  watchInterruptions(listener: () => void): void;
  /** Brings the schema up to date, and tidies up after the process that had the store before; `now` in epoch ms. Faults: as `openStore`. */
  takeOver(now: number): Promise<void>;
  /** Waits for the writes that are under way. */
  close(): Promise<void>;
};

export type StoreOptions = {
  folder: string;
  clock: Clock;
  metrics?: Pick<Metrics, "commitSeconds" | "storeBytes"> | undefined;
  /** The PostgreSQL database that has the store; without it, it is a SQLite file in the folder. */
  postgres?: PostgresOptions | undefined;
  /** Called at the beginning of each write transaction; see `Fence`. */
  fence?: (() => Fence | undefined) | undefined;
  /** For errors in what follows a commit, which are bugs. */
  log?: Pick<Log, "error"> | undefined;
  /** Another process may have the store at this moment: nothing is tidied up, nor the schema brought up to date, until `takeOver`. */
  isStandby?: boolean;
};

/**
 * Faults: DATA_FOLDER_UNUSABLE, DATA_FOLDER_IN_USE, STORE_READ_ONLY, STORE_FULL, STORE_UNAVAILABLE, SETTINGS_INVALID; STORE_READ_ONLY, STORE_FULL and
 * STORE_UNAVAILABLE at any later call too.
 */
export async function openStore(options: StoreOptions): Promise<Store> {
  const { clock, metrics = openMetrics() } = options;
  const folder = openDataFolder(options.folder);
  try {
    const commits = { clock, seconds: metrics.commitSeconds.at() };
    const opened = options.postgres ? await openPostgres(options.postgres, options, commits) : openFile(folder, options, commits, metrics.storeBytes);
    try {
      const close = async () => {
        await opened.close();
        folder.close();
      };
      const store = await storeOn(opened, options.folder, () => opened.database.close(close));
      if (options.isStandby !== true) await store.takeOver(clock.now());
      return store;
    } catch (error) {
      await opened.close();
      throw error;
    }
  } catch (error) {
    folder.close();
    throw storeFault(error, options.folder);
  }
}

/** `migrate`: brings the schema up to date, if another process may have had the store since it was opened. */
type OpenedDatabase = {
  database: Database;
  dialect: Dialect;
  migrate?: (() => Promise<void>) | undefined;
  watchInterruptions?: Store["watchInterruptions"];
  close(): Promise<void>;
};

function openFile(
  { file }: DataFolder,
  { folder, fence, log }: StoreOptions,
  commits: CommitMetrics,
  storeBytes: Metrics["storeBytes"],
): OpenedDatabase {
  const connections: SqliteDatabase[] = [];
  const close = async () => {
    for (const connection of connections) connection.close();
  };
  try {
    const writer = openSqlite(file);
    connections.push(writer);
    refuseDamaged(writer, folder);
    writer.pragma("journal_mode = WAL");
    writer.pragma("synchronous = FULL");
    writer.pragma("foreign_keys = ON");
    // What is staged is no file: only a publish that is recorded needs the disk.
    writer.pragma("temp_store = MEMORY");
    migrate(writer);
    const reader = openSqliteReader(file);
    connections.push(reader);
    storeBytes.look((family) => {
      for (const [part, path] of [
        ["database", file],
        ["log", `${file}-wal`],
      ] as const)
        family.at(part).set(statSync(path, { throwIfNoEntry: false })?.size ?? 0);
    });
    const connection = (to: SqliteDatabase) => sqliteConnection(to, folder, commits.clock);
    const database = createDatabase(connection(writer), connection(reader), commits, fence, logTaskFailed(log));
    return { database, dialect: SQLITE_DIALECT, close };
  } catch (error) {
    for (const connection of connections) connection.close();
    throw error;
  }
}

const logTaskFailed = (log: StoreOptions["log"]) => (err: unknown) => log?.error({ err }, "unexpected error after a commit");

async function openPostgres(
  postgres: PostgresOptions,
  { clock, fence, log, isStandby }: StoreOptions,
  commits: CommitMetrics,
): Promise<OpenedDatabase> {
  const pool = await openPostgresPool(parsePostgresAddress(postgres), { connections: postgres.connections, clock });
  try {
    if (isStandby !== true) await migratePostgres(pool);
    else if (!(await isCurrentSchema(pool))) throw new Fault("STORE_UNAVAILABLE", `The database ${pool.name} has another schema than this standby.`);
    const database = createDatabase(postgresConnection(pool), postgresReader(pool, clock), commits, fence, logTaskFailed(log));
    const { watchInterruptions, close } = pool;
    return { database, dialect: POSTGRES_DIALECT, migrate: isStandby === true ? () => migratePostgres(pool) : undefined, watchInterruptions, close };
  } catch (error) {
    await pool.close();
    throw error;
  }
}

async function storeOn(opened: OpenedDatabase, folder: string, close: () => Promise<void>): Promise<Store> {
  const { database, dialect, migrate: migrateAgain, watchInterruptions = () => undefined } = opened;
  const queries = createQueries(database, dialect);
  const { builder, select, run } = queries;
  const own = select(() => builder.selectFrom("store").select(["id", "revision"]));
  const insertOwn = run((values: { id: string }) => builder.insertInto("store").values({ id: values.id, revision: 0 }));
  if ((await own({})).length === 0)
    await database.transaction(async () => {
      // Two processes may open a new database at the same time.
      if ((await own({})).length === 0) await insertOwn({ id: randomUUID() });
    });
  const [{ id } = { id: "" }] = await own({});
  const history = createHistory(queries);
  const wakes = createWakes(queries);
  const series = createSeries(queries);
  const useWeeks = createUseWeeks(queries);
  const sessions = createSessions(queries);
  const staging = await openStaging(queries, history);
  const webhooks = createWebhooks(queries, id);
  const isShared = dialect.staging === "shared";
  const publishedFiles = createPublishedFiles(queries, { dataFolder: folder, isShared });
  return {
    id,
    revision: async () => {
      const [row] = await own({});
      // A gateway that had seen more would report that this store lost changes.
      await database.flush();
      return row?.revision ?? 0;
    },
    users: createUsers(queries),
    sessions,
    providerSessions: createProviderSessions(queries),
    devKeys: createDevKeys(queries),
    groups: createGroups(queries),
    trustedPublishers: createTrustedPublishers(queries),
    jobTokens: createJobTokens(queries),
    packages: createPackages(queries),
    repositories: createRepositories(queries),
    packageVersions: createPackageVersions(queries),
    connections: createConnections(queries),
    credentials: createCredentials(queries),
    signingKeys: createSigningKeys(queries),
    images: createImages(queries, history),
    containers: createContainers(queries, { history, wakes, series, useWeeks }),
    tombstones: createTombstones(queries),
    history,
    audit: createAudit(queries),
    wakes,
    series,
    useWeeks,
    staging,
    publishedFiles,
    sharedSecrets: createSharedSecrets(queries),
    sharedTexts: createSharedTexts(queries),
    webhooks,
    isShared,
    transaction: database.transaction,
    afterCommit: database.afterCommit,
    requireDurable: database.requireDurable,
    queueAs: database.queueAs,
    watchInterruptions,
    takeOver: async (now) => {
      await migrateAgain?.();
      await webhooks.takeOver();
      await sessions.removeExpired(now);
      if (isShared) await staging.reset();
      await publishedFiles.removeUnused();
    },
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
