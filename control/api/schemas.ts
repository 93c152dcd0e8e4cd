import { type Static, type TSchema, Type } from "typebox";
import { DRIVER_PHASES } from "../../lib/start-phases.ts";
import { START_REASONS } from "../model/entities.ts";

// TypeBox schemas of the API's entities: they validate requests, serialize responses, and are the OpenAPI description and the types, the console's too.
// This file imports nothing that needs Node, since the console is checked without the types of Node.

/** A schema of several types, where `anyOf` would slow the serializer down. */
export function nullable<T extends TSchema & { type: string }>(schema: T, options: { description?: string } = {}) {
  return Type.Unsafe<Static<T> | null>({ ...schema, ...options, type: [schema.type, "null"] });
}

export function oneOf<const T extends string>(values: readonly T[], options: { description?: string } = {}) {
  return Type.Unsafe<T>({ type: "string", enum: values, ...options });
}

/** An object with any keys. */
export function mapOf<T extends TSchema>(values: T, options: { description?: string } = {}) {
  return Type.Unsafe<Record<string, Static<T>>>({ type: "object", additionalProperties: values, ...options });
}

export const text = Type.String();
export const count = Type.Integer();
export const date = Type.String({ format: "date-time" });
/** A sentence may change; a program reads the fields beside it. */
export const sentence = Type.String({ description: "a sentence for users, which may change; programs read the fields beside it" });
const bytes = Type.Integer({ description: "bytes, as they are stored" });

export const API_ERROR = Type.Object({ "#type": Type.Literal("ApiError"), code: text, message: text, innerMessage: text });

/** The responses of a route: on success, and on failure. */
export function responses(success: object, error: object = API_ERROR): Record<string, object> {
  return { 200: success, "4xx": error, "5xx": error };
}

export const DONE = Type.Object({ isSuccess: Type.Boolean() });
export const ID_PARAMS = Type.Object({ id: Type.String({ description: "a UUID" }) });

export const REPLICA_NUMBER = Type.Optional(
  Type.Integer({ minimum: 1, maximum: 10_000, default: 1, description: "which replica, of a container with `replicas`; 1 is the container itself" }),
);

/** The parameters of an address such as `/packages/dev/:first/:name`. */
export function paramsOf(path: string) {
  const names = path.split("/:").slice(1);
  return Type.Unsafe<Partial<Record<string, string>>>({ type: "object", properties: Object.fromEntries(names.map((name) => [name, text])) });
}

export const LIST_QUERY = Type.Object({
  text: Type.Optional(
    Type.String({ description: 'a word in the name, or comparisons such as `name = "value" and status != "error"`; percent-encoded twice' }),
  ),
  limit: Type.Optional(Type.Integer({ minimum: 0, maximum: 1_000_000, description: "0: all" })),
  page: Type.Optional(Type.Integer({ minimum: 0, maximum: 1_000_000, description: "counts from 1; 0 is the first too" })),
  order: Type.Optional(Type.String({ description: "the name of a field; with `!` before it, in reverse order" })),
  include: Type.Optional(
    Type.String({ description: "`short`: without long texts and variables; any other value: everything, with long texts cut to 4 KiB" }),
  ),
});
export type ListQuery = Static<typeof LIST_QUERY>;

export const IMAGE = Type.Object({
  "#type": text,
  id: text,
  name: text,
  friendlyName: text,
  description: text,
  dockerfile: text,
  status: oneOf(["pending validation", "validating", "ready", "error", "deleted"]),
  dockerName: text,
  version: text,
  dockerfilePath: text,
  logs: text,
  imageRef: text,
  createdOn: date,
  updatedOn: date,
});
export type ImageEntity = Static<typeof IMAGE>;

/** `text`: null where the folder has no `container.json`, or is not known. */
export const WRITTEN_DEFINITION = Type.Object({ text: nullable(text) });
export type WrittenDefinitionJson = Static<typeof WRITTEN_DEFINITION>;

const REPLICAS = Type.Object(
  {
    ready: Type.Integer({ description: "those that requests are sent to" }),
    wanted: Type.Integer({ description: "those that are to run; 0 while the container is stopped" }),
    min: count,
    max: count,
    says: Type.String({ description: "the same as a sentence, and why so many are to run" }),
    each: Type.Optional(
      Type.Array(
        Type.Object({
          replica: Type.Integer({ description: "its number; 1 is the container itself" }),
          status: Type.String({ description: "as of the container" }),
          desiredInstances: count,
          cause: nullable(text, { description: "why it failed, or could not be stopped" }),
        }),
        { description: "by their numbers; not in lists" },
      ),
    ),
  },
  { description: "of a container with `replicas` in container.json" },
);

export const CONTAINER = Type.Object({
  "#type": text,
  id: text,
  name: text,
  friendlyName: text,
  dockerfile: IMAGE,
  dockerImage: text,
  serviceName: text,
  status: Type.String({ description: "for example `started`, `stopped by user`, `pending start`" }),
  note: nullable(text, {
    description:
      "what a reader of the status should know: that nothing listens on the port of a queue worker, or where a container that does not get ready listens instead",
  }),
  desiredInstances: count,
  replicas: Type.Optional(REPLICAS),
  address: nullable(text),
  port: nullable(count),
  lastLogs: text,
  lastActive: nullable(text),
  environmentVars: mapOf(text),
  config: Type.Unsafe<Record<string, unknown>>({ type: "object", additionalProperties: true, description: "as in container.json" }),
  createdOn: date,
  updatedOn: date,
});
export type ContainerEntity = Static<typeof CONTAINER>;

export const USER = Type.Object({
  "#type": text,
  id: text,
  login: text,
  firstName: text,
  lastName: text,
  friendlyName: text,
  admin: Type.Boolean(),
  createdOn: date,
});
export type UserJson = Static<typeof USER>;

const FAILURE = Type.Unsafe<{ code: string; message: string } | null>({
  type: ["object", "null"],
  description: "the failure, if there is one",
  properties: { code: text, message: text },
});

export const HISTORY = Type.Array(
  Type.Object({
    time: date,
    from: Type.String({ description: "a status, as in the entity" }),
    to: text,
    event: Type.String({ description: "the event that changed the status, for example `startWished`, `answered`, `lost`" }),
    by: Type.String({ description: "the id of the user who requested it, or `system`" }),
    login: nullable(text, { description: "of that user, while the user exists" }),
    cause: FAILURE,
  }),
);
export type HistoryEntryJson = Static<typeof HISTORY>[number];

/** `start` stands for what the driver has not measured; `connect` is measured by the gateway. */
const WAKE_PHASES = ["queue", "dependencies", "start", ...DRIVER_PHASES, "connect"] as const;

export const WAKE = Type.Object({
  asked: date,
  for: Type.Unsafe<string | null>({
    type: ["string", "null"],
    enum: [...START_REASONS, null],
    description: "why it was started",
  }),
  by: nullable(text, { description: "the login of the user who requested the start, if one did" }),
  ended: nullable(date, { description: "null: it is in progress" }),
  outcome: nullable(text, { description: "the event that ended it: `answered`, `startFailed`, `timedOut`, `stopWished`, …" }),
  phases: Type.Array(
    Type.Object({
      name: oneOf(WAKE_PHASES),
      start: Type.Number({ description: "ms since the request for the start" }),
      duration: Type.Number({ description: "ms" }),
    }),
    { description: "in order; of a start in progress or failed, those so far. `start` stands for phases that are not known" },
  ),
  cause: FAILURE,
});
export type WakeJson = Static<typeof WAKE>;

export const EXPLANATION = Type.Object({
  id: text,
  name: text,
  package: nullable(text, { description: "the name of its package" }),
  status: Type.String({ description: "a status, as in the entity" }),
  since: date,
  why: sentence,
  wish: Type.Object({
    instances: count,
    by: nullable(text, { description: "the login of the user who requested it last" }),
    time: nullable(date, { description: "when its last start was requested" }),
  }),
  next: Type.Array(
    Type.Object({
      kind: oneOf(["backOff", "idleStop", "lifetimeEnd", "pausedEnd", "warmHours", "usualHours", "startLimit", "drainLimit", "statusLimit"]),
      time: date,
      says: sentence,
    }),
    { description: "what berth does next, the earliest first" },
  ),
  awake: Type.Array(
    Type.Object({
      kind: oneOf(["neverIdle", "dependents", "requests", "sockets", "unmeasured", "busy", "warmHours", "usualHours", "recentUse"]),
      says: sentence,
    }),
    { description: "what prevents the idle stop" },
  ),
  failure: Type.Unsafe<{ time: string; code: string; message: string; logs: readonly string[] } | null>({
    type: ["object", "null"],
    description: "the last recorded failure",
    properties: { time: date, code: text, message: text, logs: Type.Array(text, { description: "the end of its log, oldest line first" }) },
  }),
  engine: Type.Object(
    {
      says: sentence,
      running: nullable(Type.Boolean(), { description: "null: it has no such service, or is unreachable" }),
      address: nullable(text),
      port: nullable(count),
      exitCode: nullable(count),
      outOfMemory: nullable(Type.Boolean()),
    },
    { description: "the status at the container engine now" },
  ),
  replicas: Type.Optional(REPLICAS),
  tcp: Type.Unsafe<{ says: string; address: string; port: number } | null>({
    type: ["object", "null"],
    description: "its TCP listener, if it has one",
    properties: { says: sentence, address: text, port: count },
  }),
  history: HISTORY,
});
export type ExplanationJson = Static<typeof EXPLANATION>;

export const OPEN_REQUESTS = Type.Array(
  Type.Object({
    gateway: Type.String({ description: "its name while it is connected to control" }),
    answered: Type.Boolean({ description: "false: the gateway did not answer in time" }),
    count: Type.Integer({ description: "all open requests; `open` lists the oldest of them" }),
    open: Type.Array(
      Type.Object({
        kind: oneOf(["http", "websocket", "tcp"]),
        login: Type.String({ description: "the owner of the caller's credential; for a TCP connection the client's address" }),
        since: date,
        bytesIn: Type.Integer({ description: "to the container: the body of a request" }),
        bytesOut: Type.Integer({ description: "from the container, heads included" }),
        state: oneOf(["held", "streaming"], { description: "`held` while it waits for the container" }),
      }),
    ),
  }),
);
export type OpenRequestsJson = Static<typeof OPEN_REQUESTS>[number];

export const REPOSITORY = Type.Object({ name: text, containers: Type.Integer({ description: "how many use an image of it" }) });
export type RepositoryJson = Static<typeof REPOSITORY>;

export const TAGGED_IMAGE = Type.Object({
  tag: nullable(text),
  digest: text,
  mediaType: text,
  size: bytes,
  createdOn: nullable(text, { description: "when it was built, by its own configuration" }),
  platform: nullable(text),
  layers: Type.Array(Type.Object({ digest: text, size: bytes })),
  images: Type.Array(Type.Object({ digest: text, size: bytes, platform: text }), { description: "of an index" }),
  pushedBy: nullable(text, { description: "the login of the user who pushed this tag last through this berth" }),
  pushedOn: nullable(date),
  usedBy: Type.Array(text, { description: "names of containers" }),
});
export type TaggedImageJson = Static<typeof TAGGED_IMAGE>;

const resources = { cpu: Type.Number({ description: "cores" }), memoryMb: Type.Number({ description: "MiB" }) };
const byStatus = mapOf(count, { description: "how many, by status" });

export const SERVER_OVERVIEW = Type.Object({
  version: text,
  node: text,
  startedOn: Type.String({ format: "date-time", description: "of the control process" }),
  backend: Type.Object({ driver: text, environment: text }),
  capacity: Type.Unsafe<{ machines: number; cpu: number; memoryMb: number } | null>({
    type: ["object", "null"],
    properties: { machines: count, ...resources },
    description: "of the container engine; null: it has no limit, or is unreachable",
  }),
  promised: Type.Object(resources, { description: "reserved for running containers, by their container.json" }),
  containers: byStatus,
  images: byStatus,
  queue: Type.Object({ waiting: count, running: count }, { description: "containers and images to reconcile, and in progress" }),
  gateways: Type.Integer({ description: "gateway processes that are connected to this control plane" }),
  untrustedProxies: Type.Array(text, { description: "peers that sent X-Forwarded-For and are not in BERTH_TRUSTED_PROXIES" }),
  signingKeys: Type.Array(Type.Object({ kid: text, createdOn: date, signs: Type.Boolean() })),
  developerKeys: Type.Array(Type.Object({ login: text, id: text, label: text, createdOn: date })),
});
export type ServerOverviewJson = Static<typeof SERVER_OVERVIEW>;

export const AUDIT_ENTRY = Type.Object({
  seq: count,
  time: date,
  action: text,
  target: nullable(text, { description: "what it was done to" }),
  login: nullable(text, { description: "the login at that time" }),
  userId: nullable(text),
  via: nullable(text, {
    description:
      "devKey, oidc (a sign-in at the provider), session (key, authorization or cookie), registry, or the trusted publisher and the claims of its CI job",
  }),
  address: nullable(text, { description: "the client's address, as the edge saw it" }),
  requestId: nullable(text),
  status: nullable(count, { description: "of the response; null: the client left before it" }),
});
export type AuditEntryJson = Static<typeof AUDIT_ENTRY>;

export const PACKAGE = Type.Object({
  "#type": text,
  id: text,
  name: text,
  friendlyName: text,
  version: text,
  author: Type.String({ description: "the login of its owner" }),
  createdOn: date,
  updatedOn: date,
  publishedVersions: Type.Array(Type.Object({ id: text, version: text, isCurrent: Type.Boolean() }), { description: "the one that is here" }),
});
export type PackageEntity = Static<typeof PACKAGE>;

const PACKAGE_VERSION = Type.Object({
  number: Type.Integer({ description: "counts the publishes of the package from 1" }),
  version: Type.String({ description: "of its package.json" }),
  publishedOn: date,
  by: nullable(text, { description: "the login; null: unknown" }),
  restores: nullable(Type.Integer(), { description: "the number of the earlier version that it repeats" }),
  replacedOn: nullable(date, { description: "null: it is the current version" }),
  containers: Type.Integer(),
  good: nullable(Type.Boolean(), {
    description: "when it was replaced, each image was ready and no container had failed; null for the current version",
  }),
});
export type PackageVersionJson = Static<typeof PACKAGE_VERSION>;
export const PACKAGE_VERSIONS = Type.Object({ name: text, versions: Type.Array(PACKAGE_VERSION) });
export type PackageVersionsJson = Static<typeof PACKAGE_VERSIONS>;

export const GARBAGE = Type.Object({
  storage: Type.String({ description: "where the images are" }),
  isShared: Type.Boolean({ description: "registries of other machines may take pushes to it" }),
  running: Type.Union(
    [
      Type.Object({
        dryRun: Type.Boolean(),
        startedOn: date,
        phase: oneOf(["refusing pushes", "reading manifests", "deleting", "accepting pushes"]),
        deleted: Type.Integer({ description: "blobs" }),
        total: nullable(count, { description: "blobs to delete; null: not known yet" }),
      }),
      Type.Null(),
    ],
    { description: "the run in progress" },
  ),
  last: Type.Union(
    [
      Type.Object({
        dryRun: Type.Boolean(),
        endedOn: date,
        blobs: Type.Integer({ description: "layers, configurations and manifests that no image has" }),
        bytes: nullable(count, { description: "null: the storage does not tell" }),
        largest: Type.Array(Type.Object({ digest: text, bytes: count })),
        failure: nullable(text),
      }),
      Type.Null(),
    ],
    { description: "the last run since the registry started" },
  ),
});
export type GarbageJson = Static<typeof GARBAGE>;

const EXPIRED_IMAGE = Type.Object({ repository: text, tags: Type.Array(text), digest: text });
/** What one run of the retention rules removed, or would remove. */
export const RETENTION_RUN = Type.Object({
  dryRun: Type.Boolean(),
  endedOn: date,
  removed: Type.Integer({ description: "images; with `dryRun`, that would be removed" }),
  kept: Type.Integer({ description: "tags, and images without a tag that are in use" }),
  images: Type.Array(EXPIRED_IMAGE, { description: "of those removed, at most 200" }),
  failures: Type.Array(text, { description: "why images or repositories are left as they are, at most 20 sentences" }),
});
export type RetentionRunJson = Static<typeof RETENTION_RUN>;

export const RETENTION = Type.Object({
  rules: Type.Array(text, { description: "as in BERTH_REGISTRY_RETENTION; empty: nothing is removed" }),
  hour: Type.Integer({ description: "of the day, in UTC, in which the rules are applied" }),
  last: Type.Union([RETENTION_RUN, Type.Null()], { description: "the last run since this control process began to lead" }),
});
export type RetentionJson = Static<typeof RETENTION>;

export const ORPHAN = Type.Object({
  service: Type.String({ description: "its name at the container engine" }),
  why: oneOf(["another store", "another name", "unknown id"]),
  running: Type.Boolean(),
  store: Type.String({ description: "the store that started it: it has another id, or does not know the container" }),
  environment: text,
  container: text,
  generation: count,
});
export type OrphanJson = Static<typeof ORPHAN>;

export const EFFECTIVE_SETTINGS = Type.Array(
  Type.Object({
    key: Type.String({ description: "as in berth.yaml" }),
    variable: Type.String({ description: "the name of its environment variable" }),
    value: Type.Unknown({ description: "null: unset; `***`: a secret that is set" }),
    default: Type.Unknown({ description: "null: none" }),
    origin: oneOf(["environment", "file", "default"]),
    source: Type.String({ description: "the variable, the line of the settings file, `default`, or `as` another setting" }),
    description: text,
  }),
);
export type EffectiveSettingJson = Static<typeof EFFECTIVE_SETTINGS>[number];

const duration = (description: string) => Type.Number({ description });

/** Whether several control processes share a database, and which of them leads. */
export const CONTROL_PROCESSES = Type.Object({
  database: Type.Union([Type.Object({ name: text, roundTripMs: duration("of one transaction") }), Type.Null()], {
    description: "null: the store is a file in the data folder, and there is one control process",
  }),
  epoch: Type.Integer({ description: "grows with each change of the leader; 0 with one control process" }),
  processes: Type.Array(
    Type.Object({
      name: text,
      url: Type.String({ description: "at which gateways reach it; empty: at none" }),
      version: text,
      leads: Type.Boolean(),
      lagMs: duration("since its last sign of life in the database"),
      upMs: duration("since its start"),
    }),
    { description: "the control processes that lived within the last minute" },
  ),
  gateways: count,
  connected: Type.Array(
    Type.Object({
      gateway: Type.String({ description: "its name while it is connected" }),
      load: Type.Union(
        [
          Type.Object({
            machine: text,
            pid: count,
            version: text,
            sockets: oneOf(["ffi", "node"]),
            upMs: duration("since its start"),
            openRequests: count,
            cores: Type.Number({ description: "processor time since its last report" }),
            memoryBytes: count,
          }),
          Type.Null(),
        ],
        { description: "null: it did not answer within a second" },
      ),
    }),
    { description: "the connected gateway processes" },
  ),
});
export type ControlProcessesJson = Static<typeof CONTROL_PROCESSES>;

/** A key that signs tokens. */
export const SIGNING_KEY = Type.Object({
  kid: text,
  createdOn: date,
  signs: Type.Boolean(),
  publishedUntil: nullable(text, { description: "of a key that no longer signs" }),
});
export type SigningKeyJson = Static<typeof SIGNING_KEY>;

/** A section of the console, as the wire names it. */
export type ConsoleSection = "containers" | "images" | "registry" | "stand";
