import type { RequestListener } from "node:http";
import type { FeedHandler } from "../control/api/feed.ts";
import type { ControlElection } from "../control/leadership/open-leadership.ts";
import type { Store } from "../control/store/open-store.ts";
import type { ShellBackend } from "../control/api/api-deps.ts";
import type { Driver } from "../drivers/driver.ts";
import { NO_EXEC } from "../drivers/exec.ts";
import { checkBeforeCalls, countCalls, disabledDriver } from "../drivers/middleware.ts";
import { join } from "node:path";
import { effectiveSettings } from "../conf/effective-settings.ts";
import type { ReadSettings } from "../conf/read-settings.ts";
import type { Settings } from "../conf/settings.ts";
import { openFeed } from "../control/api/feed.ts";
import { openApi } from "../control/api/open-api.ts";
import { addConsole } from "../control/console/console-routes.ts";
import { adminKey } from "../control/identity/admin-key.ts";
import { createSharedFolder } from "../control/identity/shared-folder.ts";
import { createIdentity } from "../control/identity/open-identity.ts";
import { endSessionsAtRest } from "../control/identity/sessions.ts";
import { createSigningKeys, pipeToken, queueToken, type SigningKeys, spawnerToken } from "../control/identity/signing-keys.ts";
import { withPublishedFiles } from "../control/lifecycle/published-files.ts";
import { withAdoptedServices } from "../control/lifecycle/adopted-services.ts";
import { CONTAINERS_DISABLED, disableLifecycle, openLifecycle } from "../control/lifecycle/open-lifecycle.ts";
import { createRegistryRetention } from "../control/api/retain-images.ts";
import { createSeriesRecorder } from "../control/lifecycle/record-series.ts";
import { createWarmUps } from "../control/lifecycle/warm-up.ts";
import { traceWakes } from "../control/lifecycle/telemetry.ts";
import { containerEnvironment } from "../control/packages/credentials/container-environment.ts";
import { openCredentials } from "../control/packages/credentials/open-credentials.ts";
import { openKeyFile } from "../control/packages/credentials/key-file.ts";
import { openVault } from "../control/packages/credentials/open-vault.ts";
import { openImporter } from "../control/packages/import/open-importer.ts";
import { openPublisher } from "../control/packages/publish/open-publisher.ts";
import { requirePush } from "../control/packages/publish/push-quota.ts";
import { ZIP_LIMITS } from "../control/packages/publish/receive-upload.ts";
import { openWebhookSender } from "../control/webhooks/open-webhook-sender.ts";
import { createAuditLog } from "../control/store/audit.ts";
import { noteRollback } from "../control/store/data-folder.ts";
import type { Clock } from "../lib/clock.ts";
import { Fault } from "../lib/fault.ts";
import type { Log } from "../lib/log.ts";
import type { Metrics } from "../lib/metrics/open-metrics.ts";
import { configuredKeys } from "./control-listeners.ts";
import { openConfiguredOidc } from "./configured-oidc.ts";
import { openImagePolicy } from "./configured-image-policy.ts";
import { openConfiguredRegistry, registryBrowser } from "./configured-registry.ts";
import { createRegistryGarbage, requestRetention } from "./distribution/maintenance.ts";
import { parseTagRule } from "./distribution/retention.ts";
import { type ListeningHandle, portOf, tcpListenerOptions } from "./listeners.ts";
import { configuredDriver, openChosenDriver } from "./open-driver.ts";
import type { RuntimeFolder } from "./runtime-folder.ts";
import { openConfiguredTraces } from "./telemetry.ts";

const MEGABYTE = 1_048_576;
const DAY_MS = 24 * 3_600_000;
/** How long the API goes on after the feeds have ended: the time in which gateways notice that. */
const API_ENDS_MS = 100;
/** A gateway notices the end of a control process at once, and tries the next one, or the same one again, after 2 s at most. */
const JOIN_MS = 3_000;

/** What the parts of the leader need of its election. */
export type LeaderPart = {
  epoch: number;
  /** Faults: CONTROL_STANDBY if this process may not act any more. */
  check(): void;
  status: ControlElection["status"];
  /** Lets another control process lead. */
  stepDown(): void;
  /** Answers requests to the API that come while it ends. */
  answerNotLeading: RequestListener;
};

/** The parts of a control process that leads, or is alone. */
export type LeadingControl = {
  feed: FeedHandler;
  api: RequestListener;
  /** Begins to reconcile. */
  start(): Promise<void>;
  /** Requests to the API wait for it. It is open already if there is no other control process. */
  openApi(): Promise<void>;
  /** Ends shells, with a reason for their clients. No other begins. */
  closeShells(): Promise<void>;
  /** Ends the API, the feeds and the reconciler, with the driver calls under way. */
  stopActing(): Promise<void>;
  /** After `stopActing`. */
  close(): Promise<void>;
};

export type LeadingControlOptions = {
  settings: Settings;
  /** Where each setting comes from. */
  sources: ReadSettings["sources"];
  /** For programs that it starts. */
  env: NodeJS.ProcessEnv;
  runtime: RuntimeFolder;
  /** The socket of the console's own listener, where it has one. */
  consoleHandle: ListeningHandle | undefined;
  version: string;
  metrics: Metrics;
  clock: Clock;
  log: Log;
};

/** Desired and observed state, the reconciler, the API and the gateways' feed, on a store. `leader`: undefined if there is no other control process. */
export async function openLeadingControl(
  { settings, sources, env, runtime, consoleHandle, version, metrics, clock, log }: LeadingControlOptions,
  store: Store,
  leader: LeaderPart | undefined,
): Promise<LeadingControl> {
  const sessionMs = settings.sessionDays * DAY_MS;
  const identity = createIdentity({ store, clock, sessionMs, httpIssuers: settings.publisherHttpIssuers });
  const vault = await openVault({ store, keyFile: openKeyFile(settings.data), given: configuredKeys(settings), log });
  const sharedFolder = createSharedFolder({ store, vault, folder: settings.data });
  await sharedFolder.pull();
  const admin = adminKey({ dataFolder: settings.data, given: settings.adminKey });
  await identity.ensureAdmin(admin.key);
  await sharedFolder.push();
  const credentials = openCredentials({ store, vault, clock });
  const oidc = openConfiguredOidc(settings, { store, identity, vault, sessionMs, clock, log });
  const signingKeys = createSigningKeys({ store, vault, clock, log, longestSeconds: queueTokenSeconds(settings) });
  const driverName = configuredDriver(settings);
  const registry = openConfiguredRegistry(settings, driverName, { clock, log });
  const disabled = settings.dockerSettings.useGrokSpawner ? undefined : CONTAINERS_DISABLED;
  if (disabled) log.warn({}, "containers are disabled: dockerSettings.useGrokSpawner is off");
  const openChosen = () => openChosenDriver(driverName, settings, registry, { clock, log }, spawnerTokens({ settings, signingKeys, clock }));
  const chosen = disabled ? disabledDriver(driverName === "ask" ? "docker" : driverName, disabled) : await openChosen();
  const counted = countCalls(driverName === "process" ? withPublishedFiles(chosen, store, settings.data) : chosen, { metrics, clock });
  const driver = withAdoptedServices(leader ? checkBeforeCalls(counted, leader.check) : counted, { store, environment: settings.environment });
  const imagePolicy = await openImagePolicy(settings, { registry, driver: driverName, env, metrics, clock, log });
  const opened = await openLifecycle({
    store,
    driver,
    disabled,
    environment: settings.environment,
    filesFolder: settings.data,
    limits: {
      statusMs: settings.dockerSettings.containerStatusTimeoutMinutes * 60_000,
      graceMs: settings.graceSeconds * 1_000,
      busyMs: settings.busyMinutes * 60_000,
      pausedMs: settings.pausedMinutes * 60_000,
      drainMs: settings.drainSeconds * 1_000,
      joinMs: JOIN_MS,
    },
    ...containerEnvironment({
      store,
      vault,
      credentials,
      stand: { apiUrl: settings.apiUrl, queue: settings.queueSettings },
      signQueueToken: queueTokens({ settings, signingKeys, clock }),
    }),
    renderEnv: credentials.renderEnv,
    imagePolicy,
    capacity: settings.capacity,
    leaderEpoch: leader?.epoch,
    tcp: tcpListenerOptions(settings),
    metrics,
    clock,
    log,
  });
  const lifecycle = disabled ? disableLifecycle(opened, disabled) : opened;
  const warmUps = createWarmUps({ store, lifecycle: opened, driver, clock, log, options: settings.warmUp });
  const series = createSeriesRecorder({ store, hours: warmUps.hours, lifecycle: opened, driver, clock, log });
  const traces = await openConfiguredTraces(settings, { version, role: "control" });
  const webhookSender = openWebhookSender({ store, vault, metrics, clock, log });
  const audit = createAuditLog({ audit: store.audit, keepMs: settings.auditDays * DAY_MS, clock, metrics });
  const feed = await openFeed({
    socketPath: runtime.feedSocket,
    lifecycle,
    store,
    watchSignOuts: identity.watchSignOuts,
    who: async (token) => identity.who(token),
    revokedTokens: identity.revokedTokens.all,
    checkPush: imagePolicy && ((push, signal) => requirePush({ store, imagePolicy }, push, signal)),
    version,
    leader,
    metrics,
    audit,
    storeWentBack: ({ seen, found }) => {
      metrics.storeRollbacks.at().add();
      log.error({ seen, found, data: settings.data }, "the store is older than what a gateway has seen: changes are lost");
      noteRollback(settings.data, { at: clock.now(), seen, found });
    },
    countTraffic: series.countTraffic,
    traceWake: traces && traceWakes({ traces, watch: lifecycle.watch, clock }),
    clock,
    log,
  });
  await endSessionsAtRest(store, lifecycle, log);
  const publisher = await openPublisher({
    store,
    lifecycle,
    credentials,
    dataFolder: settings.data,
    environment: settings.environment,
    hasTcpListeners: settings.tcp.ports !== undefined,
    keepVersions: settings.keepVersions,
    replicas: () => driver.replicas,
    gpuIsOptional: settings.gpuPolicy === "prefer",
    imagePolicy,
    maxPackageBytes: settings.maxPackageMb * MEGABYTE,
    limits: ZIP_LIMITS,
    clock,
  });
  const browser = registryBrowser({ settings, runtime, clock, log });
  const garbage = settings.registry.kind === "embedded" ? createRegistryGarbage(runtime.registryAdminSocket, clock) : undefined;
  settings.registry.retention.forEach(parseTagRule);
  if (settings.registry.retention.length > 0 && !garbage)
    log.warn({}, "BERTH_REGISTRY_RETENTION removes nothing: it is for berth's own registry, BERTH_REGISTRY=embedded");
  const retention =
    garbage &&
    createRegistryRetention({
      rules: settings.registry.retention,
      hour: settings.registry.retentionHour,
      store,
      apply: (request) => requestRetention(runtime.registryAdminSocket, clock, request),
      garbage,
      audit,
      clock,
      log,
    });
  const openOwnApi = () =>
    openApi(
      {
        // The listeners of one among several were open before it led.
        socketPath: leader ? undefined : runtime.apiSocket,
        store,
        lifecycle,
        lastUse: series.lastUse,
        warmUps,
        orphans: lifecycle,
        changes: lifecycle,
        gateways: feed,
        identity,
        oidc: oidc.signIns,
        publisher,
        importer: openImporter({ store, driver, lifecycle, environment: settings.environment, clock }),
        credentials,
        vault,
        signingKeys,
        webhookSender,
        audit,
        registry: browser,
        garbage,
        retention,
        election: leader,
        backend: {
          driver: driverName,
          environment: settings.environment,
          capacity: async (signal) => driver.capacity?.({ signal }),
        },
        driverLogs: ({ id, service }, options, signal) => driver.logs(service, options, { signal, owner: { store: store.id, container: id } }),
        shell: settings.shell
          ? {
              exec: () => execOf(driver),
              idleMs: settings.shellIdleMinutes * 60_000,
              pausesContainers: settings.pausedMinutes > 0,
            }
          : undefined,
        settings: {
          webRoot: settings.webRoot,
          origins: settings.origins,
          console: {
            url: settings.consoleUrl,
            name: settings.consoleName,
            port: consoleHandle === undefined ? settings.consolePort : portOf(consoleHandle),
            edgePort: settings.edgePort,
          },
          version,
          sessionMs,
          issuer: settings.datagrok.issuer,
          reservedAudiences: reservedAudiences(settings),
        },
        effectiveSettings: effectiveSettings({ settings, sources }),
        metrics,
        clock,
        log,
      },
      addConsole,
    );
  // Among several control processes it can wait: starts come first, and to build the API takes the most of a failover's time.
  let api = leader ? undefined : await openOwnApi();
  let isEnding = false;
  const apiOpened = Promise.withResolvers<RequestListener>();
  apiOpened.promise.catch(() => undefined);
  return {
    feed: feed.answer,
    api: (request, response) => {
      const end = () => (leader ? leader.answerNotLeading(request, response) : response.destroy());
      if (isEnding) end();
      else if (api) api.answer(request, response);
      else void apiOpened.promise.then((answer) => answer(request, response), end);
    },
    start: async () => {
      await lifecycle.start();
      series.start();
      retention?.start();
      void warmUps.learn();
      webhookSender.start();
      if (admin.made)
        console.log(`The first user is "admin". Its developer key, shown this once and kept in ${join(settings.data, "admin.key")}:\n  ${admin.key}`);
    },
    openApi: async () => {
      try {
        api ??= await openOwnApi();
        apiOpened.resolve(api.answer);
      } catch (error) {
        apiOpened.reject(error);
        throw error;
      }
    },
    closeShells: async () => api?.closeShells(),
    stopActing: async () => {
      apiOpened.reject(new Fault("CONTROL_STANDBY", "This control process leads no longer."));
      retention?.close();
      // First the feeds: then gateways hold what comes for the API until another one leads.
      await feed.close();
      const ended = Promise.all([lifecycle.close(), series.close(), webhookSender.close()]);
      // It may fail before it is awaited: the store may be away, and often is the reason to stop.
      ended.catch(() => undefined);
      if (leader) await clock.sleep(API_ENDS_MS);
      isEnding = true;
      await api?.close();
      await ended;
      oidc.close();
    },
    close: async () => {
      await driver.close();
      await registry?.close();
      await browser?.close();
      await store.close();
      await traces?.close();
    },
  };
}

function execOf({ exec, name }: Driver): ReturnType<ShellBackend["exec"]> {
  if (!exec) return { refusal: NO_EXEC[name] ?? `The driver ${name} runs no commands in containers.` };
  return (service, options, signal) => exec(service, options, { signal });
}

/** What takes tokens of these may do more than their holder: they are not for users to have. */
function reservedAudiences({ dockerSettings, queueSettings }: Settings): string[] {
  return [dockerSettings.spawnerAudience, queueSettings.mqAudience, queueSettings.pipeAudience];
}

/** The issuer of tokens that no request asks for. */
function ownIssuer({ datagrok, webRoot, apiUrl }: Settings): string | undefined {
  return datagrok.issuer ?? webRoot ?? apiUrl?.replace(/\/api\/?$/, "");
}

/** 0 if containers get no such tokens. */
function queueTokenSeconds({ queueSettings, queueTokenDays }: Settings): number {
  const { amqpAuthMode, pipeAuthMode } = queueSettings;
  return amqpAuthMode === "jwt" || pipeAuthMode === "jwt" ? Math.round((queueTokenDays * DAY_MS) / 1_000) : 0;
}

function queueTokens(deps: { settings: Settings; signingKeys: Pick<SigningKeys, "signer">; clock: Clock }) {
  const { settings } = deps;
  const { mqAudience, pipeAudience } = settings.queueSettings;
  const common = { issuer: ownIssuer(settings), seconds: queueTokenSeconds(settings) };
  return (audience: "queue" | "pipe", service: string) =>
    audience === "queue"
      ? queueToken(deps, { ...common, audience: mqAudience, service })
      : pipeToken(deps, { ...common, audience: pipeAudience, service });
}

/** The tokens with which control signs in at a spawner. Undefined without an address of its own, which the spawner compares with its setting. */
function spawnerTokens(deps: { settings: Settings; signingKeys: Pick<SigningKeys, "signer">; clock: Clock }): (() => Promise<string>) | undefined {
  const { settings, signingKeys, clock } = deps;
  const issuer = ownIssuer(settings);
  const audience = settings.dockerSettings.spawnerAudience;
  return issuer === undefined ? undefined : () => spawnerToken({ signingKeys, clock }, { issuer, audience });
}
