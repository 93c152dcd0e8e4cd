import type { Settings } from "../conf/settings.ts";
import { controlKeyServer } from "../gateway/api-backend.ts";
import type { ControlLink } from "../gateway/feed/control-client.ts";
import { followLeader } from "../gateway/feed/follow-leader.ts";
import type { Driver } from "../drivers/driver.ts";
import { countCalls } from "../drivers/middleware.ts";
import { openCallers, openSpawner } from "../drivers/spawner/server/open-spawner.ts";
import { createBackoff } from "../lib/backoff.ts";
import type { Clock } from "../lib/clock.ts";
import { completesWithin } from "../lib/deadline.ts";
import { Fault } from "../lib/fault.ts";
import { datagrokKeys, type KeyServer, openSigners } from "../lib/jwks/signers.ts";
import type { Log } from "../lib/log.ts";
import type { Metrics } from "../lib/metrics/open-metrics.ts";
import { privateListeners } from "../lib/refused-addresses.ts";
import { openConfiguredRegistry } from "./configured-registry.ts";
import { isLoopback, type ListeningHandle, openListeningHandle } from "./listeners.ts";
import { configuredDriver, DEFAULT_SPAWNER_KEY, isOnEngine, openHostDrivers } from "./open-driver.ts";
import type { StoppableProcess } from "./parent.ts";

/** `port`: the port of the listener that it opened itself. */
export type Spawner = StoppableProcess & { port: number | undefined };

/**
 * The spawner's API over the driver of this machine. It starts while the engine and the server that signs its callers' tokens are away.
 * Faults: SETTINGS_INVALID, ADDRESS_IN_USE; those of the driver.
 */
export async function runSpawner(options: {
  settings: Settings;
  version: string;
  /** The control plane of this berth, whose tokens it takes unless a Datagrok server is set; undefined where there is none. */
  link: ControlLink | undefined;
  /** The socket to accept on; without one it opens its own. */
  handle: ListeningHandle | undefined;
  metrics: Metrics;
  clock: Clock;
  log: Log;
}): Promise<Spawner> {
  const { settings, version, link, metrics, clock, log } = options;
  const driverName = configuredDriver(settings);
  if (driverName === "spawner")
    throw new Fault("SETTINGS_INVALID", "BERTH_DRIVER is spawner, which is another one: a spawner itself needs the driver of its own engine.");
  checkKey(settings, link !== undefined, log);
  const registry = openConfiguredRegistry(settings, driverName, { clock, log });
  // Beside a control it uses that control's network.
  const opened = await openHostDrivers(driverName, settings, registry, { clock, log }, { onOwnNetworks: link === undefined });
  const driver = countCalls(opened, { metrics, clock });
  const server = keyServer(settings, link, clock);
  const leader = link && followLeader({ link, clock, log });
  const signers = server && openSigners({ server, issuer: settings.datagrok.issuer, clock, log });
  const { spawnerApiKey: key, spawnerHost: host, spawnerPort: port } = settings;
  const callers = openCallers({ key, audience: settings.dockerSettings.spawnerAudience, signers, clock });
  const own = options.handle === undefined ? await openListeningHandle({ host, port }, clock) : undefined;
  const at = options.handle ?? (own as { handle: ListeningHandle }).handle;
  const { environment, keepAliveTimeout: keepAliveTimeoutMs } = settings;
  const closing = new AbortController();
  if (server && !server.anyIssuer) void signers?.prefetch(closing.signal);
  if (isOnEngine(driverName)) await joinAtStart(driver, { clock, log, signal: closing.signal });
  const api = await openSpawner({
    driver,
    callers,
    environment,
    apiUrl: settings.apiUrl,
    version,
    keepAliveTimeoutMs,
    limits: { startMs: settings.dockerSettings.containerStatusTimeoutMinutes * 60_000 },
    at,
    listeners: privateListeners({ subnets: settings.dockerSubnets, allowed: settings.privateFromContainers, log }),
    refused: metrics.refusedConnections,
    clock,
    log,
  });
  return {
    port: own?.port,
    close: async () => {
      closing.abort(new Error("Closing."));
      await api.close();
      await driver.close();
      await registry?.close();
      leader?.close();
      server?.close();
    },
  };
}

const JOIN_RETRY = { first: 250, longest: 10_000 };
/** How long the start waits for the engine. */
const JOIN_WAIT_MS = 5_000;

/**
 * A list makes the driver join the containers' network. Before the first deploy, because the engine then sets up berth's published ports again, which cuts
 * their connections. While the engine is unavailable, the spawner answers, and this goes on in the background.
 */
async function joinAtStart(driver: Driver, { clock, log, signal }: { clock: Clock; log: Log; signal: AbortSignal }): Promise<void> {
  const delays = createBackoff(JOIN_RETRY.first, JOIN_RETRY.longest);
  const joining = (async () => {
    for (let logged = false; !signal.aborted; logged = true) {
      try {
        return void (await driver.list({ signal }));
      } catch (error) {
        if (!logged && !signal.aborted) log.warn({ err: error }, "container engine unreachable, retrying");
        await clock.sleep(delays.next(), signal).catch(() => undefined);
      }
    }
  })();
  await completesWithin(joining, JOIN_WAIT_MS, clock);
}

/** A key that everybody knows lets everybody run containers. Who replaces a grok_spawner may have it all the same. Faults: SETTINGS_INVALID. */
function checkKey({ spawnerApiKey, spawnerHost }: Settings, inServe: boolean, log: Log): void {
  if (spawnerApiKey !== DEFAULT_SPAWNER_KEY) return;
  if (inServe && !isLoopback(spawnerHost))
    throw new Fault("SETTINGS_INVALID", `The spawner API would listen on ${spawnerHost} with the key that everybody knows: set X_API_KEY.`);
  log.warn({}, "X_API_KEY is the default, which everybody knows: set another one, here and where the spawner is called from.");
}

/** The server that signs callers' tokens. grok_spawner has a setting of its own for its address. */
function keyServer({ datagrok, apiUrl }: Settings, link: ControlLink | undefined, clock: Clock): KeyServer | undefined {
  if (datagrok.url !== undefined) return datagrokKeys(datagrok.url, clock);
  if (link !== undefined) return controlKeyServer(link, clock);
  return apiUrl === undefined ? undefined : datagrokKeys(apiUrl, clock);
}
