import { join } from "node:path";
import type { Clock } from "../clock.ts";
import type { Settings } from "../conf/settings.ts";
import { openApi } from "../control/api/open-api.ts";
import { openFeed } from "../control/api/feed.ts";
import { containerEnvironment } from "../control/credentials/container-environment.ts";
import { openKeyFile } from "../control/credentials/key-file.ts";
import { openCredentials } from "../control/credentials/open-credentials.ts";
import { openVault } from "../control/credentials/open-vault.ts";
import { endAtRest } from "../control/identity/container-session.ts";
import { adminKey } from "../control/identity/admin-key.ts";
import { openIdentity } from "../control/identity/open-identity.ts";
import { openSigningKeys } from "../control/identity/signing-keys.ts";
import { openLifecycle } from "../control/lifecycle/open-lifecycle.ts";
import { openPublisher } from "../control/publish/open-publisher.ts";
import { ZIP_LIMITS } from "../control/publish/unpack-zip.ts";
import { openStore } from "../control/store/open-store.ts";
import type { Log } from "../log.ts";
import { openRegistry } from "./image-registry.ts";
import { driverOf, openChosenDriver } from "./open-driver.ts";
import { spawnerTokens } from "./spawner-tokens.ts";
import { registryBrowser } from "./registry-browser.ts";
import type { Running } from "./until-told.ts";
import type { RuntimeFolder } from "./runtime-folder.ts";

const MEGABYTE = 1_048_576;
const DAY_MS = 24 * 3_600_000;

/** The control process: wishes and facts, the reconciler, the API and the gateways' feed. */
export async function runControl(options: { settings: Settings; runtime: RuntimeFolder; version: string; clock: Clock; log: Log }): Promise<Running> {
  const { settings, runtime, version, clock, log } = options;
  // First of all the store: its lock is what keeps a second berth out, and the sockets are ours only under it.
  const store = openStore({ folder: settings.data, clock });
  const sessionMs = settings.sessionDays * DAY_MS;
  const identity = openIdentity({ store, clock, sessionMs });
  const admin = adminKey({ dataFolder: settings.data, given: settings.adminKey });
  identity.ensureAdmin(admin.key);
  const vault = openVault({ store, keyFile: openKeyFile(settings.data), given: settings.credentialsKey, log });
  const credentials = openCredentials({ store, vault, clock });
  const signingKeys = openSigningKeys({ store, vault, clock, log });
  const driverName = driverOf(settings);
  const registry = openRegistry(settings, driverName, { clock, log });
  const driver = await openChosenDriver(driverName, settings, registry, { clock, log }, spawnerTokens({ settings, signingKeys, clock }));
  const lifecycle = openLifecycle({
    store,
    driver,
    environment: settings.environment,
    filesFolder: settings.data,
    limits: {
      statusMs: settings.dockerSettings.containerStatusTimeoutMinutes * 60_000,
      holdMs: settings.dockerSettings.proxyRequestTimeout,
      drainMs: settings.drainSeconds * 1_000,
    },
    injectedEnv: containerEnvironment({ store, vault, credentials, stand: { apiUrl: settings.apiUrl, queue: settings.queueSettings } }),
    renderEnv: credentials.renderEnv,
    clock,
    log,
  });
  const feed = await openFeed({
    socketPath: runtime.feedSocket,
    lifecycle,
    store,
    watchSignOuts: identity.watchSignOuts,
    who: async (token) => identity.who(token),
    clock,
    log,
  });
  endAtRest(store, lifecycle);
  const publisher = await openPublisher({
    store,
    lifecycle,
    credentials,
    dataFolder: settings.data,
    environment: settings.environment,
    maxPackageBytes: settings.maxPackageMb * MEGABYTE,
    limits: ZIP_LIMITS,
    clock,
  });
  const browser = registryBrowser({ settings, runtime, clock, log });
  const api = await openApi({
    socketPath: runtime.apiSocket,
    store,
    lifecycle,
    orphans: lifecycle,
    changes: lifecycle,
    gateways: feed,
    identity,
    publisher,
    credentials,
    vault,
    signingKeys,
    registry: browser,
    driverLogs: (service, options, signal) => driver.logs(service, options, { signal }),
    settings: {
      webRoot: settings.webRoot,
      origins: settings.origins,
      version,
      sessionMs,
      issuer: settings.datagrok.issuer,
      reservedAudiences: reservedAudiences(settings),
    },
    clock,
    log,
  });
  lifecycle.start();
  if (admin.made)
    console.log(`The first user is "admin". Its developer key, shown this once and kept in ${join(settings.data, "admin.key")}:\n  ${admin.key}`);
  return {
    close: async () => {
      await api.close();
      await feed.close();
      await lifecycle.close();
      await driver.close();
      await registry?.close();
      await browser?.close();
      store.close();
    },
  };
}

/** What takes tokens of these may do more than their holder: they are not for users to have. */
function reservedAudiences({ dockerSettings, queueSettings }: Settings): string[] {
  return [dockerSettings.spawnerAudience, queueSettings.mqAudience, queueSettings.pipeAudience];
}
