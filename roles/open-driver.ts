import { join } from "node:path";
import type { Clock } from "../clock.ts";
import type { Settings } from "../conf/settings.ts";
import type { Driver, DriverName, Registry } from "../drivers/driver.ts";
import { openDriver } from "../drivers/open.ts";
import type { SpawnerOptions } from "../drivers/spawner/driver.ts";
import { Fault } from "../fault.ts";
import type { Log } from "../log.ts";

/** Below the data folder: what the process driver keeps. */
const PROCESS_FOLDER = "processes";
export const DEFAULT_SPAWNER_KEY = "test-x-api-key";

/** `auto` never falls back to plain processes: what isolates nothing is chosen by name only. */
export function driverOf({ driver }: Settings): DriverName {
  return driver === "auto" ? "docker" : driver;
}

type Tools = { clock: Clock; log: Log };

/**
 * Opens it; it asks its orchestrator nothing yet. `spawnerToken` makes the tokens that another spawner knows us by; undefined where nobody can.
 * Faults: SETTINGS_INVALID.
 */
export function openChosenDriver(
  name: DriverName,
  settings: Settings,
  registry: Registry | undefined,
  tools: Tools,
  spawnerToken?: () => Promise<string>,
): Promise<Driver> {
  const tls = settings.dockerTlsVerify && settings.dockerCertPath !== undefined ? { folder: settings.dockerCertPath } : undefined;
  return openDriver(
    name,
    {
      docker: {
        host: settings.dockerHost,
        tls,
        network: settings.dockerNetwork,
        reach: settings.dockerReach,
        publishHost: settings.dockerPublishHost,
        registry,
      },
      process: { folder: join(settings.data, PROCESS_FOLDER), nodePath: process.execPath },
      ...(name === "spawner" ? { spawner: spawnerOptions(settings, spawnerToken, tools.log) } : {}),
    },
    tools,
  );
}

function spawnerOptions({ dockerSettings: given }: Settings, token: (() => Promise<string>) | undefined, log: Log): SpawnerOptions {
  if (!given.useGrokSpawner)
    throw new Fault("SETTINGS_INVALID", "BERTH_DRIVER is spawner, and dockerSettings.useGrokSpawner is off: change one of them.");
  const at = { host: given.grokSpawnerHost, port: given.grokSpawnerPort, tls: given.grokSpawnerTls };
  if (given.spawnerAuthMode === "password") {
    if (given.grokSpawnerApiKey === DEFAULT_SPAWNER_KEY)
      log.warn({}, "dockerSettings.grokSpawnerApiKey is the default, which everybody knows: give the spawner a key of its own, and set it here.");
    return { ...at, auth: { key: given.grokSpawnerApiKey } };
  }
  if (token) return { ...at, auth: { token } };
  throw new Fault(
    "SETTINGS_INVALID",
    "dockerSettings.spawnerAuthMode is jwt, and who signs the tokens is not known: set BERTH_WEB_ROOT, or spawnerAuthMode to password and grokSpawnerApiKey.",
  );
}
