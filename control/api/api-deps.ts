import type { Clock } from "../../lib/clock.ts";
import type { Capacity } from "../../drivers/driver.ts";
import type { RegistryBrowser } from "../../gateway/contract.ts";
import type { Log } from "../../lib/log.ts";
import type { Metrics } from "../../lib/metrics/open-metrics.ts";
import type { Credentials } from "../packages/credentials/open-credentials.ts";
import type { Vault } from "../packages/credentials/open-vault.ts";
import type { AuditLog } from "../store/open-audit.ts";
import type { ControlIdentity } from "../identity/open-identity.ts";
import type { GatewayQueries } from "./gateway-queries.ts";
import type { SigningKeys } from "../identity/signing-keys.ts";
import type { Importer } from "../packages/import/open-importer.ts";
import type { Lifecycle } from "../lifecycle/open-lifecycle.ts";
import type { Publisher } from "../packages/publish/open-publisher.ts";
import type { Store } from "../store/open-store.ts";

/** What the API asks of the lifecycle. */
export type ApiLifecycle = Pick<
  Lifecycle,
  "depth" | "requestStart" | "requestStop" | "requestValidation" | "remove" | "settled" | "explain" | "setBusy"
>;

/** `url` is its public address, where one is set; `name` its host of its own at the edge's port; else it is at `port` of the host that a browser uses. */
export type ConsoleSettings = { url: string | undefined; name: string | undefined; port: number; edgePort: number };

export type ApiSettings = {
  /** Where people reach this server, without a slash at the end; undefined: as each request says it. */
  webRoot: string | undefined;
  /** Origins beside its own from which a browser may change something. */
  origins: readonly string[];
  /** Where browsers find the console and the edge; no console where it is left out. */
  console?: ConsoleSettings | undefined;
  version: string;
  /** How long a session lasts. */
  sessionMs: number;
  /** Who docker tokens say they are from; undefined: the web root. */
  issuer?: string | undefined;
  /** For whom no user gets a token, whatever registry a client says it is. */
  reservedAudiences?: readonly string[];
};

/** `capacity`: undefined where the orchestrator has as much as is wished, or does not tell. */
export type Backend = { driver: string; environment: string; capacity(signal: AbortSignal): Promise<Capacity | undefined> };

/** Everything that the routes work with. */
export type ApiDeps = {
  store: Store;
  lifecycle: ApiLifecycle;
  /** What runs with berth's labels and belongs to nothing here. */
  orphans: Pick<Lifecycle, "findOrphans" | "removeOrphan">;
  identity: ControlIdentity;
  publisher: Publisher;
  importer: Importer;
  credentials: Credentials;
  /** What becomes of containers and images. */
  changes: Pick<Lifecycle, "watch" | "seq">;
  /** What the gateways have open. */
  gateways: Pick<GatewayQueries, "openRequests" | "count">;
  vault: Pick<Vault, "rotate">;
  signingKeys: SigningKeys;
  audit: AuditLog;
  /** The registry that images are pushed to; undefined where none is set up. */
  registry?: RegistryBrowser | undefined;
  /** A container's last `tail` lines, oldest first, as the orchestrator has them now; followed, those that come, until it ends. */
  driverLogs(service: string, options: { tail: number; follow?: boolean }, signal: AbortSignal): AsyncIterable<string>;
  /** What runs the containers. */
  backend: Backend;
  settings: ApiSettings;
  /** Where it counts; for nobody where it is left out. */
  metrics?: Pick<Metrics, "authFailures">;
  clock: Clock;
  log: Log;
};
