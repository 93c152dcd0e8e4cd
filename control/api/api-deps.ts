import type { Capacity, ExecOptions, ExecSession, LogOptions } from "../../drivers/driver.ts";
import type { RegistryBrowser } from "../../gateway/contract.ts";
import type { Clock } from "../../lib/clock.ts";
import type { Log } from "../../lib/log.ts";
import type { Metrics } from "../../lib/metrics/open-metrics.ts";
import type { ControlIdentity } from "../identity/open-identity.ts";
import type { OidcSignIn } from "../identity/oidc-sign-in.ts";
import type { SigningKeys } from "../identity/signing-keys.ts";
import type { SeriesRecorder } from "../lifecycle/record-series.ts";
import type { Lifecycle } from "../lifecycle/open-lifecycle.ts";
import type { WarmUps } from "../lifecycle/warm-up.ts";
import type { Credentials } from "../packages/credentials/open-credentials.ts";
import type { Vault } from "../packages/credentials/open-vault.ts";
import type { Importer } from "../packages/import/open-importer.ts";
import type { Publisher } from "../packages/publish/open-publisher.ts";
import type { Container } from "../model/entities.ts";
import type { AuditLog } from "../store/audit.ts";
import type { Store } from "../store/open-store.ts";
import type { WebhookSender } from "../webhooks/open-webhook-sender.ts";
import type { ControlElection } from "../leadership/open-leadership.ts";
import type { GatewayQueries } from "./feed-stream.ts";
import type { EffectiveSettingJson, GarbageJson, RetentionJson, RetentionRunJson } from "./schemas.ts";

/** The part of the lifecycle that the API uses. */
export type ApiLifecycle = Pick<
  Lifecycle,
  | "depth"
  | "requestStart"
  | "requestStop"
  | "requestRestart"
  | "requestValidation"
  | "remove"
  | "settled"
  | "explain"
  | "setBusy"
  | "setWarmUp"
  | "recordUse"
  | "listenerOf"
  | "startNote"
  | "replicasOf"
  | "startPhases"
  | "disabled"
>;

/** `url` is its public address, where one is set; `name` its host of its own at the edge's port; else it is at `port` of the host that a browser uses. */
export type ConsoleSettings = { url: string | undefined; name: string | undefined; port: number; edgePort: number };

export type ApiSettings = {
  /** The public address of this server, without a slash at the end; undefined: the address of each request. */
  webRoot: string | undefined;
  /** Origins beside its own from which a browser may change something. */
  origins: readonly string[];
  /** Where browsers find the console and the edge; undefined: there is no console. */
  console?: ConsoleSettings | undefined;
  version: string;
  /** How long a session lasts. */
  sessionMs: number;
  /** The issuer of docker tokens; undefined: the web root. */
  issuer?: string | undefined;
  /** Audiences for which no user receives a token. */
  reservedAudiences?: readonly string[];
};

/** `capacity`: undefined if the orchestrator has no limit, or reports none. */
export type Backend = { driver: string; environment: string; capacity(signal: AbortSignal): Promise<Capacity | undefined> };

export type RegistryGarbageDeps = {
  /** Undefined: the registry process does not run on this machine. Faults: REGISTRY_FAILED. */
  status(): Promise<GarbageJson | undefined>;
  /** Begins a collection, or a dry run, and returns before it ends. Undefined as above. Faults: REGISTRY_BUSY, REGISTRY_FAILED. */
  start(options: { dryRun: boolean }): Promise<GarbageJson | undefined>;
};

export type RegistryRetention = {
  status(): RetentionJson;
  /** Applies the rules, and waits for the end. Undefined: the registry process does not run on this machine. Faults: SETTINGS_INVALID, REGISTRY_BUSY, REGISTRY_FAILED. */
  run(options: { dryRun: boolean }): Promise<RetentionRunJson | undefined>;
};

/** Commands in containers. */
export type ShellBackend = {
  /** Resolves with undefined if the service does not run. Of a driver without such a call, why it has none. */
  exec(): ((service: string, options: ExecOptions, signal: AbortSignal) => Promise<ExecSession | undefined>) | { refusal: string };
  /** How long a shell stays open without input and output. */
  idleMs: number;
  /** A container that is frozen keeps what the users of its earlier starts left in its memory. */
  pausesContainers: boolean;
};

/** Everything that the routes work with. */
export type ApiDeps = {
  store: Store;
  lifecycle: ApiLifecycle;
  /** Services with berth's labels that belong to no container here. */
  orphans: Pick<Lifecycle, "findOrphans" | "removeOrphan">;
  identity: ControlIdentity;
  /** Sign-in at each provider, in the order of the console's buttons; none: developer keys alone sign in. */
  oidc?: readonly OidcSignIn[] | undefined;
  publisher: Publisher;
  importer: Importer;
  credentials: Credentials;
  /** Changes of containers and images. */
  changes: Pick<Lifecycle, "watch" | "seq">;
  /** The open requests of gateways. */
  gateways: Pick<GatewayQueries, "openRequests" | "recentRequests" | "loads" | "count">;
  /** What running containers use. */
  lastUse: SeriesRecorder["lastUse"];
  /** In which hours containers are usually used. */
  warmUps: Pick<WarmUps, "options" | "adviceOn" | "suggestions">;
  vault: Pick<Vault, "rotate" | "seal">;
  signingKeys: SigningKeys;
  webhookSender: Pick<WebhookSender, "test">;
  audit: AuditLog;
  /** Among several control processes; undefined: there is one. */
  election?: ControlElection | undefined;
  /** The registry that images are pushed to; undefined: none is configured. */
  registry?: RegistryBrowser | undefined;
  /** Garbage of berth's own registry on this machine; undefined: berth runs none. */
  garbage?: RegistryGarbageDeps | undefined;
  /** Rules by which images of that registry are removed; undefined likewise. */
  retention?: RegistryRetention | undefined;
  /** A container's last `tail` lines, oldest first, as the orchestrator has them now; followed, those that come, until it ends. */
  driverLogs(container: Pick<Container, "id" | "service">, options: LogOptions, signal: AbortSignal): AsyncIterable<string>;
  /** Undefined: the settings have it off. */
  shell?: ShellBackend | undefined;
  /** What runs the containers. */
  backend: Backend;
  settings: ApiSettings;
  /** What this process was started with, without secrets. */
  effectiveSettings: readonly EffectiveSettingJson[];
  metrics?: Pick<Metrics, "authFailures">;
  clock: Clock;
  log: Log;
};
