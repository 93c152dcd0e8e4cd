import { join } from "node:path";
import type { Clock } from "../lib/clock.ts";
import type { Settings } from "../conf/settings.ts";
import { chooseDriver, chooseOnEngine } from "../drivers/choose.ts";
import { chosenLater } from "../drivers/chosen-later.ts";
import type { Driver, DriverName, Registry } from "../drivers/driver.ts";
import type { DriverSettings } from "../drivers/open.ts";
import { openDriver } from "../drivers/open.ts";
import type { SpawnerOptions } from "../drivers/spawner/driver.ts";
import { Fault } from "../lib/fault.ts";
import type { Log } from "../lib/log.ts";
import { nodeProgram } from "../lib/own-files.ts";
import { ecsOptions } from "./ecs-options.ts";

/** Below the data folder: what the process driver keeps. */
const PROCESS_FOLDER = "processes";
export const DEFAULT_SPAWNER_KEY = "test-x-api-key";
/** Plugin containers' value of the nodes' label `role`; the server's own parts have another. */
const NODE_ROLE = "cvm";
/** How long the engine may take to say whether it manages a swarm. */
const ASKED_MS = 10_000;

type Tools = { clock: Clock; log: Log };

/** The orchestrator that the settings mean. Faults: SETTINGS_INVALID for two at once. */
export function driverOf(settings: Settings): DriverName | "ask" {
  return chooseDriver({
    wished: settings.driver,
    forceDocker: settings.spawnerForceDockerTypeHost,
    ecs: settings.ecs.cvm.cluster !== undefined || settings.ecs.datagrok.cluster !== undefined,
    kubernetes: settings.kubernetes.namespace !== undefined || settings.kubernetes.kubeconfig !== undefined,
  });
}

/**
 * Opens it; where only the engine knows which it is, the engine is asked with the first call, and may be away until then. `spawnerToken` makes the
 * tokens that another spawner knows us by; undefined where nobody can. Faults: SETTINGS_INVALID.
 */
export async function openChosenDriver(
  name: DriverName | "ask",
  settings: Settings,
  registry: Registry | undefined,
  tools: Tools,
  spawnerToken?: () => Promise<string>,
): Promise<Driver> {
  const options = { ...optionsOf(settings, registry), ...(name === "spawner" ? { spawner: spawnerOptions(settings, spawnerToken, tools.log) } : {}) };
  if (name !== "ask") return openDriver(name, options, tools);
  return chosenLater({
    choose: async (signal) => openDriver(await askEngine(settings, tools, signal), options, tools),
    meanwhile: { name: "docker", pulls: true },
    ...tools,
  });
}

/** Asks the engine what it is, and says so. */
async function askEngine(settings: Settings, { clock, log }: Tools, signal: AbortSignal): Promise<DriverName> {
  const [{ openEngine }, { isManager }, { leftOnEngine }] = await Promise.all([
    import("../drivers/engine/engine.ts"),
    import("../drivers/swarm/cluster.ts"),
    import("../drivers/swarm/left-on-engine.ts"),
  ]);
  const engine = openEngine(engineAt(settings), clock);
  try {
    const driver = chooseOnEngine({ managesSwarm: await isManager(engine, signal, ASKED_MS) });
    log.info({ driver }, driver === "swarm" ? "The engine manages a swarm: containers run as its services." : "Containers run on the engine.");
    const left = driver === "swarm" ? await leftOnEngine(engine, { signal }) : [];
    const sentence =
      "These were started on the engine itself, and are neither seen nor ended as services of its swarm: remove them, or go on with GROK_SPAWNER_FORCE_DOCKER_TYPE_HOST=true.";
    if (left.length > 0) log.warn({ containers: left.slice(0, 20), count: left.length }, sentence);
    return driver;
  } finally {
    engine.close();
  }
}

/** The engine that the settings name. */
export function engineAt({ dockerHost: host, dockerTlsVerify, dockerCertPath }: Settings) {
  return { host, tls: dockerTlsVerify && dockerCertPath !== undefined ? { folder: dockerCertPath } : undefined };
}

function optionsOf(settings: Settings, registry: Registry | undefined): DriverSettings {
  const engine = { ...engineAt(settings), reach: settings.dockerReach, pidsLimit: settings.pidsLimit, registry };
  return {
    docker: {
      ...engine,
      network: settings.dockerNetwork,
      publishHost: settings.dockerPublishHost,
      subnets: settings.dockerSubnets,
      sharedServices: settings.sharedServices,
      addressRestMs: settings.addressRestSeconds * 1_000,
      publishPorts: portRangeOf(settings.dockerPublishPorts),
    },
    swarm: { ...engine, network: settings.swarmNetwork, nodeRole: NODE_ROLE },
    ecs: { ...ecsOptions(settings), registry, registryHosts: settings.registry.redirectHosts },
    kubernetes: { ...settings.kubernetes, registry, registryHosts: settings.registry.redirectHosts },
    process: { folder: join(settings.data, PROCESS_FOLDER), nodePath: nodeProgram() },
  };
}

function portRangeOf(range: string): { first: number; last: number } {
  const [first, last] = range.split("-").map(Number) as [number, number];
  return { first, last };
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
