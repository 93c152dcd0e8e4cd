import type { DriverTimes } from "../../lib/start-phases.ts";
import type { ImageHealthcheck } from "../../drivers/driver.ts";
import type { FaultData } from "../../lib/fault.ts";
import type {
  AdoptedInstance,
  Container,
  ContainerConfig,
  ContainerStart,
  DeployedImage,
  DevKey,
  Image,
  OwnedAddress,
  Package,
  Session,
  SessionKind,
  Tombstone,
  User,
  StartReason,
  WarmUp,
} from "../model/entities.ts";
import type { SeriesPoint } from "../model/series.ts";
import type { PackedHour, UseWeek } from "../model/usual-hours.ts";
import type { ContainerState, ImageState } from "../model/states.ts";
import type {
  AuditEntry,
  Connection,
  SealedCredential,
  FaultCause,
  HistoryEntry,
  JobToken,
  OwnedRepository,
  PackageVersion,
  ProviderSession,
  Sealed,
  SigningKey,
  TrustedPublisher,
  VersionFolder,
  Wake,
} from "../model/records.ts";
import type { Webhook, WebhookDelivery, WebhookStop } from "../model/webhooks.ts";

/** An interval of a ring; `step` is its length in ms. */
export type StoredPoint = SeriesPoint & { step: number };

export type StoredValue = string | number | Uint8Array | null;

/** How one field of an entity lies in a column. */
export type TableColumn<V, S extends StoredValue = StoredValue> = {
  type: "text" | "integer" | "bytes";
  write(value: V): S;
  read(stored: StoredValue): V;
};

/** A string; `S` narrows it to the words that the application ever writes. */
function text<S extends string = string>(): TableColumn<S, S> {
  return { type: "text", write: (value) => value, read: (stored) => stored as S };
}

/** An integer: a count, or epoch milliseconds. Fractions are cut, since the tables are STRICT. */
function whole(): TableColumn<number, number> {
  return { type: "integer", write: (value) => Math.trunc(value), read: (stored) => Number(stored) };
}

/** One of few integers. */
function oneOf<N extends number>(): TableColumn<N, N> {
  return { type: "integer", write: (value) => value, read: (stored) => stored as N };
}

function flag(): TableColumn<boolean, 0 | 1> {
  return { type: "integer", write: (value) => (value ? 1 : 0), read: (stored) => stored === 1 };
}

function bytes(): TableColumn<Uint8Array, Uint8Array> {
  return { type: "bytes", write: (value) => value, read: (stored) => stored as Uint8Array };
}

/** NUL, and halves of surrogate pairs, which PostgreSQL refuses in JSON: logs of containers can have both. */
const UNSTORABLE = /(?<!\\)((?:\\\\)*)\\u(?:0000|d[89a-f][0-9a-f]{2})/g;

/** Plain data that is one text for the database. */
function json<V>(): TableColumn<V, string> {
  return {
    type: "text",
    write: (value) => JSON.stringify(value).replaceAll(UNSTORABLE, "$1\\ufffd"),
    read: (stored) => JSON.parse(String(stored)) as V,
  };
}

/** NULL is undefined. */
function optional<V, S extends StoredValue>(column: TableColumn<V, S>): TableColumn<V | undefined, S | null> {
  return {
    type: column.type,
    write: (value) => (value === undefined ? null : column.write(value)),
    read: (stored) => (stored === null ? undefined : column.read(stored)),
  };
}

/** A column for each field of an entity; its name is the field's in snake case, or as in `RELEASED_NAMES`. */
export type ColumnsOf<T> = { [K in keyof T]-?: TableColumn<T[K]> };

declare const ENTITY: unique symbol;

/** Checks that the columns are those of the entity `T`; they keep their own types, from which the query builder's follow. */
function columnsOf<T>(): <C extends ColumnsOf<T>>(columns: C & Record<Exclude<keyof C, keyof T>, never>) => C & { readonly [ENTITY]?: T } {
  return (columns) => columns;
}

/** Every column of every table, but for the `seq` of `history` and `wakes`, by which alone they are ordered. */
export const TABLES = {
  users: columnsOf<User>()({
    id: text(),
    login: text(),
    friendlyName: text(),
    admin: flag(),
    createdOn: whole(),
    oidcIssuer: optional(text()),
    oidcSubject: optional(text()),
    blockedOn: optional(whole()),
  }),
  group_members: columnsOf<{ name: string; userId: string }>()({ name: text(), userId: text() }),
  dev_keys: columnsOf<DevKey>()({
    digest: text(),
    userId: text(),
    id: text(),
    label: text(),
    createdOn: whole(),
    lastUsedOn: optional(whole()),
    fromSetting: flag(),
  }),
  sessions: columnsOf<Session>()({
    digest: text(),
    userId: text(),
    expiresOn: whole(),
    keyDigest: optional(text()),
    containerId: optional(text()),
    start: optional(json<ContainerStart>()),
    kind: optional(text<SessionKind>()),
    derivedDigest: optional(text()),
    parent: optional(text()),
    createdOn: optional(whole()),
    address: optional(text()),
  }),
  packages: columnsOf<Package>()({
    id: text(),
    name: text(),
    version: text(),
    authorId: text(),
    createdOn: whole(),
    updatedOn: whole(),
  }),
  repositories: columnsOf<OwnedRepository>()({
    key: text(),
    name: text(),
    packageId: optional(text()),
    userId: optional(text()),
    since: whole(),
  }),
  connections: columnsOf<Connection>()({
    id: text(),
    packageId: text(),
    key: text(),
    name: text(),
    entity: json<Record<string, unknown>>(),
  }),
  credentials: columnsOf<SealedCredential>()({
    id: text(),
    packageId: text(),
    entity: text(),
    name: text(),
    keyId: text(),
    box: text(),
    origin: text<SealedCredential["origin"]>(),
    updatedOn: whole(),
  }),
  signing_keys: columnsOf<SigningKey>()({
    kid: text(),
    publicKey: json<SigningKey["publicKey"]>(),
    keyId: text(),
    box: text(),
    createdOn: whole(),
    retiredOn: optional(whole()),
  }),
  images: columnsOf<Image>()({
    id: text(),
    packageId: text(),
    folder: text(),
    name: text(),
    friendlyName: text(),
    description: text(),
    version: text(),
    ref: text(),
    dockerfile: text(),
    dockerfilePath: text(),
    files: text(),
    state: text<ImageState>(),
    since: whole(),
    fault: optional(json<FaultData>()),
    resolvedId: optional(text()),
    digest: optional(text()),
    exposed: json<number[]>(),
    command: json<string[]>(),
    healthcheck: optional(json<ImageHealthcheck>()),
    mutable: flag(),
    contentHash: optional(text()),
    warnings: json<string[]>(),
    logs: text(),
    createdOn: whole(),
    updatedOn: whole(),
  }),
  containers: columnsOf<Container>()({
    id: text(),
    packageId: text(),
    imageId: text(),
    folder: text(),
    name: text(),
    friendlyName: text(),
    service: text(),
    generation: whole(),
    config: json<ContainerConfig>(),
    env: json<Record<string, string>>(),
    desiredInstances: oneOf<0 | 1>(),
    requestedBy: optional(text()),
    requestedKey: optional(text()),
    requestedSession: optional(text()),
    requestedOn: whole(),
    requestedFor: optional(text<StartReason>()),
    stopFor: optional(text<"user" | "system">()),
    state: text<ContainerState>(),
    since: whole(),
    fault: optional(json<FaultData>()),
    runningGeneration: optional(whole()),
    runningSince: optional(whole()),
    deployed: optional(json<DeployedImage>()),
    addresses: json<readonly OwnedAddress[]>(),
    tcpPort: optional(whole()),
    adopted: optional(json<AdoptedInstance>()),
    phases: optional(json<NonNullable<Container["phases"]>>()),
    pausedOn: optional(whole()),
    warmUp: optional(json<WarmUp>()),
    busyUntil: whole(),
    attempts: whole(),
    notBefore: whole(),
    lastLogs: text(),
    lastActive: whole(),
    replicaOf: optional(text()),
    replica: optional(whole()),
    createdOn: whole(),
    updatedOn: whole(),
  }),
  tombstones: columnsOf<Tombstone>()({
    id: text(),
    service: text(),
    adopted: optional(json<AdoptedInstance>()),
    removedOn: whole(),
    clearedOn: optional(whole()),
  }),
  history: columnsOf<HistoryEntry>()({
    entity: text(),
    at: whole(),
    fromState: text(),
    toState: text(),
    event: text(),
    cause: optional(json<FaultCause>()),
    byUser: optional(text()),
  }),
  wakes: columnsOf<Wake>()({
    container: text(),
    requestedAt: whole(),
    startReason: optional(text<StartReason>()),
    byUser: optional(text()),
    begunOn: optional(whole()),
    endedOn: optional(whole()),
    outcome: optional(text()),
    phases: optional(json<NonNullable<Container["phases"]>>()),
    reached: optional(json<Partial<DriverTimes>>()),
    connectMs: optional(whole()),
    fault: optional(json<FaultCause>()),
  }),
  audit: columnsOf<AuditEntry>()({
    seq: whole(),
    at: whole(),
    action: text(),
    target: optional(text()),
    userId: optional(text()),
    login: optional(text()),
    via: optional(text()),
    address: optional(text()),
    requestId: optional(text()),
    status: optional(whole()),
  }),
  series_points: columnsOf<StoredPoint>()({
    step: whole(),
    at: whole(),
    series: text(),
    requests: whole(),
    errors: whole(),
    latency: json<number[]>(),
    starts: whole(),
    failedStarts: whole(),
    startTimes: json<number[]>(),
    slowestStartMs: whole(),
    connections: whole(),
    cpuMs: optional(whole()),
    memoryBytes: optional(whole()),
    reservedMillicores: whole(),
    reservedBytes: whole(),
    waits: whole(),
    waitMs: whole(),
    runMs: whole(),
    runMbSeconds: whole(),
  }),
  use_weeks: columnsOf<UseWeek>()({ container: text(), week: whole(), hours: json<PackedHour[]>() }),
  published_files: columnsOf<{ folder: string; path: string; part: number; mode: number; bytes: Uint8Array }>()({
    folder: text(),
    path: text(),
    part: whole(),
    mode: whole(),
    bytes: bytes(),
  }),
  shared_secrets: columnsOf<Sealed & { name: string }>()({ name: text(), keyId: text(), box: text() }),
  shared_texts: columnsOf<{ name: string; text: string }>()({ name: text(), text: text() }),
  trusted_publishers: columnsOf<TrustedPublisher>()({
    name: text(),
    issuer: text(),
    audience: text(),
    claims: json<Record<string, string>>(),
    userId: text(),
    packages: json<string[]>(),
    repositories: json<string[]>(),
    rights: json<TrustedPublisher["rights"]>(),
    lifetimeMinutes: whole(),
    createdOn: whole(),
  }),
  provider_sessions: columnsOf<ProviderSession>()({
    digest: text(),
    issuer: text(),
    subject: text(),
    sid: optional(text()),
    idToken: optional(json<Sealed>()),
  }),
  job_tokens: columnsOf<JobToken>()({
    digest: text(),
    publisher: text(),
    source: text(),
    job: text(),
    expiresOn: whole(),
    keptUntil: whole(),
  }),
  package_versions: columnsOf<PackageVersion>()({
    id: text(),
    packageId: text(),
    number: whole(),
    version: text(),
    publishedOn: whole(),
    byUser: optional(text()),
    restores: optional(whole()),
    replacedOn: optional(whole()),
  }),
  version_folders: columnsOf<VersionFolder>()({
    versionId: text(),
    folder: text(),
    container: text(),
    image: text(),
    ref: text(),
    digest: optional(text()),
    resolvedId: optional(text()),
    mutable: flag(),
    contentHash: optional(text()),
    dockerfile: text(),
    dockerfilePath: text(),
    files: text(),
    warnings: json<string[]>(),
    config: json<ContainerConfig>(),
    env: json<Record<string, string>>(),
    imageState: text<ImageState>(),
    containerState: text<ContainerState>(),
  }),
  webhooks: columnsOf<Webhook>()({
    id: text(),
    url: text(),
    eventTypes: json<string[]>(),
    packageName: optional(text()),
    keyId: text(),
    box: text(),
    createdOn: whole(),
    failures: whole(),
    dropped: whole(),
    stoppedOn: optional(whole()),
    stopReason: optional(text<WebhookStop>()),
  }),
  webhook_deliveries: columnsOf<WebhookDelivery>()({
    seq: whole(),
    id: text(),
    webhookId: text(),
    type: text(),
    subject: text(),
    eventId: text(),
    event: text(),
    queuedOn: whole(),
    attempts: whole(),
    notBefore: whole(),
    endedOn: optional(whole()),
    result: optional(text<"delivered" | "failed">()),
    triedOn: optional(whole()),
    status: optional(whole()),
    ms: optional(whole()),
    failure: optional(text()),
  }),
  store: columnsOf<{ id: string; revision: number }>()({ id: text(), revision: whole() }),
};

export type TableName = keyof typeof TABLES;

/** The entity that a row of the table is. */
export type EntityOf<N extends TableName> = (typeof TABLES)[N] extends { readonly [ENTITY]?: infer T extends object } ? T : never;

type SnakeCase<S extends string> = S extends `${infer First}${infer Rest}`
  ? `${First extends Lowercase<First> ? First : `_${Lowercase<First>}`}${SnakeCase<Rest>}`
  : S;

/** Columns of the released schema that have another name than their field. */
const RELEASED_NAMES = {
  requestedBy: "wished_by",
  requestedKey: "wished_key",
  requestedSession: "wished_session",
  requestedOn: "wished_on",
  requestedFor: "wished_for",
  requestedAt: "asked_on",
  startReason: "asked_for",
} as const;

type ColumnName<F extends string> = F extends keyof typeof RELEASED_NAMES ? (typeof RELEASED_NAMES)[F] : SnakeCase<F>;

type StoredRow<N extends TableName> = {
  [K in keyof (typeof TABLES)[N] & string as ColumnName<K>]: (typeof TABLES)[N][K] extends { write(value: never): infer S } ? S : never;
};

/** The tables as the query builder sees them. */
export type Tables = { [N in TableName]: N extends "history" | "wakes" ? StoredRow<N> & { seq: number } : StoredRow<N> };

export function columnName(field: string): string {
  const released: Readonly<Record<string, string>> = RELEASED_NAMES;
  return released[field] ?? field.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

export function isTextColumn(table: TableName, column: string): boolean {
  const columns = Object.entries(TABLES[table] as Record<string, TableColumn<unknown>>);
  return columns.find(([field]) => columnName(field) === column)?.[1].type === "text";
}
