import type { ImageHealthcheck } from "../../drivers/driver.ts";
import type { FaultData } from "../../lib/fault.ts";
import type { StartTimes } from "../../lib/start-phases.ts";
import { serviceName } from "./names.ts";
import type { ContainerState, ImageState } from "./states.ts";

/** Times are epoch milliseconds throughout. */

export type Package = { id: string; name: string; version: string; authorId: string; createdOn: number; updatedOn: number };

/** What `container.json` says, with its defaults filled in. */
export type ContainerConfig = {
  cpu: number;
  memoryMb: number;
  gpu: number;
  shmMb: number;
  storageGb: number;
  onDemand: boolean;
  /** Minutes, may be a fraction; undefined: never stopped for idleness. */
  shutdownTimeoutMinutes?: number | undefined;
  /** Minutes, may be a fraction: for so long it runs after each start at most, used or not; undefined: without a limit. */
  maxMinutes?: number | undefined;
  /** How long it has between SIGTERM and SIGKILL; undefined: the drivers' default. */
  shutdownGraceSeconds?: number | undefined;
  /** Lines of hours in which it is kept awake (`model/warm-hours.ts`), as they are written. */
  keepWarm?: readonly string[] | undefined;
  /** Requests and WebSockets that may be open at it at once; undefined: any number. */
  maxConcurrency?: number | undefined;
  /** Folders of its package whose containers are started before it, and run for as long as it does. */
  dependsOn?: readonly string[] | undefined;
  /** It counts as started when a GET there is answered with 2xx or 3xx; undefined: the image decides. */
  health?: ContainerHealth | undefined;
  /** It is a queue worker, or is none, although the image looks like one; undefined: the image decides. */
  worker?: boolean | undefined;
  /** `port` of container.json, else the Dockerfile's EXPOSE; undefined: the image decides. */
  port?: number | undefined;
  /** It speaks a protocol of its own over TCP and gets a listener; undefined: the server's setting decides by the image. */
  tcp?: boolean | undefined;
  /** How many instances serve its requests; undefined: one. */
  replicas?: ReplicasConfig | undefined;
  /** What it speaks on its port: `h2c` is HTTP/2 without TLS; undefined: HTTP/1.1. */
  protocol?: "http1" | "h2c" | undefined;
};

/**
 * `min`: so many run whenever the container is started. `targetConcurrency`: open requests and WebSockets for each. `windowSeconds`: over which their number is
 * averaged. `affinity`: `cookie` sends a browser to the same replica again.
 */
export type ReplicasConfig = { min: number; max: number; targetConcurrency: number; windowSeconds: number; affinity?: "cookie" | undefined };

/** `port`: another one than the container's own. */
export type ContainerHealth = { path: string; port?: number | undefined; intervalSeconds?: number | undefined; timeoutSeconds?: number | undefined };

export type Image = {
  id: string;
  packageId: string;
  /** The folder below `dockerfiles/`; empty for a Dockerfile directly in it. */
  folder: string;
  name: string;
  friendlyName: string;
  description: string;
  version: string;
  /** The reference that is resolved, e.g. `datagrok/x:1.0.0.abcdef01`. */
  ref: string;
  dockerfile: string;
  dockerfilePath: string;
  /** Where the published files lie, relative to the data folder. */
  files: string;
  state: ImageState;
  /** When `state` was entered. */
  since: number;
  fault: FaultData | undefined;
  /** What `ref` was resolved to. */
  resolvedId: string | undefined;
  /** By which a registry knows that, where one does. */
  digest: string | undefined;
  exposed: number[];
  /** Its entrypoint and command; empty: unknown. */
  command: string[];
  healthcheck: ImageHealthcheck | undefined;
  /** The reference may come to point at something else, so each start resolves it anew. */
  mutable: boolean;
  /** The hash of the folder that the image was built from, where that is known; a fallback's is not the folder's own. */
  contentHash: string | undefined;
  /** Shown to its author when it was published. */
  warnings: string[];
  /** The validation's own log, newest last. */
  logs: string;
  createdOn: number;
  updatedOn: number;
};

/**
 * The reason of a start: a user's `run`, a request, a newer definition, the loss of what ran, its warm hours of container.json, those learned from its use, or the
 * start of a container that depends on it, the end of its `max_minutes`, or the load of the container of which it is a replica.
 */
export const START_REASONS = ["run", "request", "redefinition", "loss", "keepWarm", "usualHours", "dependency", "expiry", "scaleOut"] as const;
export type StartReason = (typeof START_REASONS)[number];

/**
 * Hours beside its keep_warm in which a container is kept warm, as lines of keep_warm. `user`: a user chose them; empty: that none is to be chosen. `auto`: berth
 * did, and may change them.
 */
export type WarmUp = { hours: readonly string[]; by: "user" | "auto"; userId?: string | undefined; since: number };

/** An image as a registry knows it: `ref` may be a tag that has moved since. `worker`: it was deployed as a queue worker, which need not listen at its address; at its start it did, or not. `warning`: it is started, but not as it demands. */
export type DeployedImage = {
  ref: string;
  digest?: string | undefined;
  worker?: "listens" | "silent" | undefined;
  warning?: string | undefined;
};

/** Where a container takes connections, and by which instance of it, in the orchestrator's own words; undefined: it tells none. No two containers have the same host and port. */
export type OwnedAddress = { host: string; port: number; instance?: string | undefined };

/** An instance that another program made. `port`: where it listens; undefined: nowhere. */
export type AdoptedInstance = { instance: string; generation: number; port: number | undefined };

export type Container = {
  id: string;
  packageId: string;
  imageId: string;
  folder: string;
  name: string;
  friendlyName: string;
  /** Its name at the orchestrator. */
  service: string;
  /** Counts definitions (image, configuration, environment). */
  generation: number;
  config: ContainerConfig;
  env: Record<string, string>;
  /** The desired state: how many instances should run. */
  desiredInstances: 0 | 1;
  /** Who requested the last start; the injected token is that user's. */
  requestedBy: string | undefined;
  /** The digests of the requester's developer key and session. The container's token ends with them. An empty key: they have ended. */
  requestedKey: string | undefined;
  requestedSession: string | undefined;
  /** When the start that runs or waits was requested; 0 where none ever was. */
  requestedOn: number;
  /** The reason of that start. */
  requestedFor: StartReason | undefined;
  /** Who requested the last stop: it decides which of the two stopped states follows. */
  stopFor: "user" | "system" | undefined;
  state: ContainerState;
  /** When `state` was entered, or pull progress last renewed it. */
  since: number;
  /** Why it is in ERROR, or why it was lost. */
  fault: FaultData | undefined;
  /** The generation that runs, where one does. */
  runningGeneration: number | undefined;
  /** When what runs became ready; undefined where nothing does. */
  runningSince: number | undefined;
  /** The image of the last deployment. A running instance runs it; the row of the image may have changed since. */
  deployed: DeployedImage | undefined;
  /**
   * Each is removed as soon as it may belong to another container. Gateways use it again when the orchestrator has confirmed it. Empty if it does not run or
   * exposes no port.
   */
  addresses: readonly OwnedAddress[];
  /** The port of its TCP listener at the gateways; undefined: it has none. No two containers have the same one. */
  tcpPort: number | undefined;
  /** An administrator adopted the instance under `service`, which berth did not start: this instance, and no other of that name. */
  adopted: AdoptedInstance | undefined;
  /** How long each part of the last start took. */
  phases: StartTimes | undefined;
  /** Since when it is paused at the orchestrator, or is being paused (STOPPING); undefined: it is not. */
  pausedOn: number | undefined;
  /** Undefined: only its keep_warm counts. */
  warmUp: WarmUp | undefined;
  /** It has reported that it is busy until then; 0: it has not. */
  busyUntil: number;
  /** Failed starts in a row. */
  attempts: number;
  /** No start is tried before this. */
  notBefore: number;
  lastLogs: string;
  lastActive: number;
  /** It is a further replica of the container with this id, which alone is listed; undefined: it is a container of its own. */
  replicaOf: string | undefined;
  /** Of a further replica: 2, 3 and so on. The container itself is replica 1. */
  replica: number | undefined;
  createdOn: number;
  updatedOn: number;
};

/** What an update may change: the state only moves. */
export type ContainerPatch = Partial<Omit<Container, "id" | "state">>;
export type ImagePatch = Partial<Omit<Image, "id" | "state">>;

export type User = {
  id: string;
  login: string;
  friendlyName: string;
  admin: boolean;
  createdOn: number;
  /** The user at the sign-in provider, who alone may sign in there as this one; undefined: no one. */
  oidcIssuer?: string | undefined;
  oidcSubject?: string | undefined;
  /** Since when no key and no session of the user is valid; undefined: they are. */
  blockedOn?: number | undefined;
};

/** Tokens and keys are stored as SHA-256 digests only. */
/** The start that a container's session belongs to. The token is stored sealed, so that a repeated start passes the same one. */
export type ContainerStart = { generation: number; sealed: { keyId: string; box: string } | undefined };

/**
 * `plain`: its user's rights without administration. `administration`: with it, where it was requested. `console`: with it, and good at the console's own
 * listener alone.
 */
export type SessionKind = "plain" | "administration" | "console";

export type Session = {
  digest: string;
  userId: string;
  expiresOn: number;
  /** The developer key that opened it, and with which it ends. */
  keyDigest: string | undefined;
  /** The container that was given it, and with which it ends. */
  containerId?: string | undefined;
  start?: ContainerStart | undefined;
  kind?: SessionKind | undefined;
  /** Of the token that containers are given in place of the session's own. */
  derivedDigest?: string | undefined;
  /** The digest of the session that it came from: they end together. */
  parent?: string | undefined;
  /** Undefined: it was opened before berth kept the time. */
  createdOn?: number | undefined;
  /** The client that opened it, as the gateway or a load balancer reports it. */
  address?: string | undefined;
};

export type DevKey = {
  digest: string;
  userId: string;
  /** Short and random: users refer to the key by it. */
  id: string;
  /** Its purpose, as its creator described it. */
  label: string;
  createdOn: number;
  /** To the hour. Undefined: never, or before berth kept it. */
  lastUsedOn?: number | undefined;
  /** It is the one in the settings, which changes with them; not one that a user created. */
  fromSetting: boolean;
};

/** A removed container. This store issued its id, so an instance that still runs under it may be removed. */
export type Tombstone = {
  id: string;
  service: string;
  removedOn: number;
  /** As the container's. */
  adopted?: AdoptedInstance | undefined;
  /** When its service was confirmed to be gone; undefined: not yet. */
  clearedOn: number | undefined;
};
/** A container that no user has started yet: an on-demand one sleeps, any other waits for a user's start. */
export function newContainer(environment: string, id: string, name: string, config: ContainerConfig, now: number) {
  return {
    id,
    service: serviceName(environment, name, id),
    generation: 1,
    desiredInstances: 0,
    requestedBy: undefined,
    requestedKey: undefined,
    requestedSession: undefined,
    requestedOn: 0,
    requestedFor: undefined,
    stopFor: config.onDemand ? "system" : "user",
    state: config.onDemand ? "SYSTEM_STOPPED" : "USER_STOPPED",
    since: now,
    fault: undefined,
    runningGeneration: undefined,
    runningSince: undefined,
    deployed: undefined,
    adopted: undefined,
    addresses: [],
    tcpPort: undefined,
    phases: undefined,
    pausedOn: undefined,
    warmUp: undefined,
    busyUntil: 0,
    attempts: 0,
    notBefore: 0,
    lastLogs: "",
    lastActive: 0,
    replicaOf: undefined,
    replica: undefined,
    createdOn: now,
  } as const satisfies Partial<Container>;
}
