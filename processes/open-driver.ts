import { existsSync } from "node:fs";
import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import type { Settings } from "../conf/settings.ts";
import type { Driver, DriverName, Host, Registry } from "../drivers/driver.ts";
import type { EcsOptions } from "../drivers/ecs/driver.ts";
import { DEFAULT_NETWORKS } from "../drivers/engine/reach.ts";
import { hostsDriver } from "../drivers/hosts.ts";
import { chooseDriver, chooseOnEngine, deferredDriver, type DriverSettings, openDriver } from "../drivers/open.ts";
import type { SpawnerOptions } from "../drivers/spawner/driver.ts";
import type { Clock } from "../lib/clock.ts";
import { Fault } from "../lib/fault.ts";
import type { Log } from "../lib/log.ts";
import { nodeProgram } from "../lib/own-files.ts";
import { portRangeOf } from "./listeners.ts";

/** Below the data folder: what the process driver keeps. */
const PROCESS_FOLDER = "processes";
export const DEFAULT_SPAWNER_KEY = "test-x-api-key";
/** Plugin containers' value of the nodes' label `role`; the server's own parts have another. */
const NODE_ROLE = "cvm";
/** How long the engine may take to say whether it manages a swarm. */
const PROBE_MS = 10_000;

type DriverDeps = { clock: Clock; log: Log };

/** The orchestrator that the settings mean. Faults: SETTINGS_INVALID for two at once. */
export function configuredDriver(settings: Settings): DriverName | "ask" {
  return chooseDriver({
    setting: settings.driver,
    forceDocker: settings.spawnerForceDockerTypeHost,
    ecs: settings.ecs.cvm.cluster !== undefined || settings.ecs.datagrok.cluster !== undefined,
    kubernetes: settings.kubernetes.namespace !== undefined || settings.kubernetes.kubeconfig !== undefined,
  });
}

/**
 * Opens the driver. If only the engine can tell which one, the first call asks the engine, which may be away until then. `spawnerToken` makes tokens for
 * another spawner; undefined if control cannot sign them. Faults: SETTINGS_INVALID.
 */
export async function openChosenDriver(
  name: DriverName | "ask",
  settings: Settings,
  registry: Registry | undefined,
  tools: DriverDeps,
  spawnerToken?: () => Promise<string>,
): Promise<Driver> {
  const options = { ...optionsOf(settings, registry), ...(name === "spawner" ? { spawner: spawnerOptions(settings, spawnerToken, tools.log) } : {}) };
  if (name !== "ask") return openDriver(name, options, tools);
  return deferredDriver({
    choose: async (signal) => openDriver(await askEngine(settings, tools, signal), options, tools),
    meanwhile: { name: "docker", pulls: true, replicas: {} },
    ...tools,
  });
}

/**
 * The driver of a spawner that replaces grok_spawner. Where berth is in a container and the settings name no network, its containers are on the networks of
 * berth's own container: the servers that call it are there, and need their addresses.
 */
async function openOnOwnNetworks(name: EngineDriver, settings: Settings, registry: Registry | undefined, tools: DriverDeps): Promise<Driver> {
  return deferredDriver({
    choose: async (signal) => {
      const chosen = name === "ask" ? await askEngine(settings, tools, signal) : name;
      const options = optionsOf(settings, registry);
      const own = await ownNetworks(settings, tools, signal);
      const [network, ...alsoOn] = own?.names ?? [];
      if (network !== undefined) tools.log.info({ networks: own?.names }, "containers run on the networks of berth's own container");
      else
        tools.log.warn(
          {},
          "berth's container has no network of its own, so servers elsewhere do not reach containers: start it with --network, or set BERTH_DOCKER_PUBLISH_HOST",
        );
      const placed = network === undefined ? {} : { network, alsoOn };
      // Names do not resolve on the network of the machine.
      const reach = own?.host && settings.dockerReach === "auto" ? { reach: "address" as const } : {};
      return openDriver(chosen, { ...options, docker: { ...options.docker, ...placed, ...reach }, swarm: { ...options.swarm, ...placed } }, tools);
    },
    meanwhile: { name: name === "swarm" ? "swarm" : "docker", pulls: true, replicas: {} },
    ...tools,
  });
}

/** The drivers that run containers on a Docker engine. */
type EngineDriver = "docker" | "swarm" | "ask";

export function isOnEngine(name: DriverName | "ask"): name is EngineDriver {
  return name === "docker" || name === "swarm" || name === "ask";
}

function usesOwnNetworks(name: EngineDriver, { dockerNetwork, swarmNetwork }: Settings): boolean {
  return existsSync("/.dockerenv") && (name === "swarm" || dockerNetwork === undefined) && (name === "docker" || swarmNetwork === undefined);
}

async function ownNetworks(settings: Settings, { clock }: DriverDeps, signal: AbortSignal) {
  const [{ openEngine }, { readOwnNetworks }] = await Promise.all([import("../drivers/engine/engine.ts"), import("../drivers/engine/reach.ts")]);
  const engine = openEngine(engineAt(settings), clock);
  try {
    return await readOwnNetworks(engine, signal);
  } finally {
    engine.close();
  }
}

/** Asks the engine what it is, and says so. */
async function askEngine(settings: Settings, { clock, log }: DriverDeps, signal: AbortSignal): Promise<DriverName> {
  const [{ openEngine }, { isManager, leftOnEngine }] = await Promise.all([
    import("../drivers/engine/engine.ts"),
    import("../drivers/swarm/cluster.ts"),
  ]);
  const engine = openEngine(engineAt(settings), clock);
  try {
    const driver = chooseOnEngine({ managesSwarm: await isManager(engine, signal, PROBE_MS) });
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
export function engineAt({ dockerHost: host, dockerTlsVerify, dockerCertPath, dockerCallSeconds }: Settings) {
  const tls = dockerTlsVerify && dockerCertPath !== undefined ? { folder: dockerCertPath } : undefined;
  return { host, tls, callMs: dockerCallSeconds * 1_000 };
}

function optionsOf(settings: Settings, registry: Registry | undefined) {
  const engine = { ...engineAt(settings), reach: settings.dockerReach, pidsLimit: settings.pidsLimit, registry };
  return {
    gpuPolicy: settings.gpuPolicy,
    docker: {
      ...engine,
      network: settings.dockerNetwork ?? DEFAULT_NETWORKS.docker,
      publishHost: settings.dockerPublishHost,
      subnets: settings.dockerSubnets,
      sharedServices: settings.sharedServices,
      addressRestMs: settings.addressRestSeconds * 1_000,
      publishPorts: portRangeOf(settings.dockerPublishPorts),
    },
    swarm: { ...engine, network: settings.swarmNetwork ?? DEFAULT_NETWORKS.swarm, nodeRole: NODE_ROLE },
    ecs: { ...ecsOptions(settings), registry, registryHosts: settings.registry.redirectHosts },
    kubernetes: { ...settings.kubernetes, registry, registryHosts: settings.registry.redirectHosts },
    process: { folder: join(settings.data, PROCESS_FOLDER), nodePath: nodeProgram() },
  } satisfies DriverSettings;
}

function spawnerOptions({ dockerSettings: given }: Settings, token: (() => Promise<string>) | undefined, log: Log): SpawnerOptions {
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

type EcsSettings = Pick<Settings, "ecs" | "awsRegion" | "shell">;

/** Where the containers of a host run: each has its block of settings, and what that leaves out, the other says. Roles and logs are of the stand. */
export function ecsOptions({ ecs, awsRegion, shell }: EcsSettings, host: Host = "cvm"): EcsOptions {
  const [first, second] = host === "cvm" ? [ecs.cvm, ecs.datagrok] : [ecs.datagrok, ecs.cvm];
  const either = (a: readonly string[], b: readonly string[]) => (a.length > 0 ? a : b);
  const cluster = first.cluster ?? second.cluster;
  const named = /^arn:[^:]+:ecs:([^:]+):/.exec(cluster ?? "")?.[1];
  return {
    cluster,
    region: first.clusterRegion ?? named ?? second.clusterRegion ?? awsRegion,
    subnets: either(first.subnets, second.subnets),
    securityGroups: either(first.securityGroups, second.securityGroups),
    launchType: first.launchType ?? second.launchType,
    execRole: ecs.datagrok.execRole,
    shellRole: shell ? ecs.shellRole : undefined,
    logGroup: ecs.datagrok.logGroup,
    capacityProviders: ecs.capacityProviders,
    architecture: ecs.architecture,
    reach: ecs.reach,
  };
}

/** Those of both hosts, and whether their clusters are two; undefined where both blocks say the same. */
export function ecsHosts(settings: EcsSettings): (Record<Host, EcsOptions> & { apart: boolean }) | undefined {
  const [cvm, datagrok] = [ecsOptions(settings, "cvm"), ecsOptions(settings, "datagrok")];
  return isDeepStrictEqual(cvm, datagrok) ? undefined : { cvm, datagrok, apart: areApart(cvm, datagrok) };
}

/** A cluster has its name, with which its ARN ends, to itself in a region. A region that AWS's own variables or files say is taken for the other's. */
function areApart(one: EcsOptions, other: EcsOptions): boolean {
  const nameOf = ({ cluster }: EcsOptions) => cluster?.replace(/^.*\//, "");
  return nameOf(one) !== nameOf(other) || (one.region ?? other.region) !== (other.region ?? one.region);
}

/**
 * The driver of who runs containers for both of an installation's hosts: on ECS, where each has its block of settings, one for each behind one face. The
 * other orchestrators that know hosts tell them apart by themselves. Faults: SETTINGS_INVALID.
 */
export async function openHostDrivers(
  name: DriverName | "ask",
  settings: Settings,
  registry: Registry | undefined,
  tools: { clock: Clock; log: Log },
  /** `onOwnNetworks`: as a grok_spawner, on the networks of berth's own container. */
  { onOwnNetworks = false }: { onOwnNetworks?: boolean } = {},
): Promise<Driver> {
  if (onOwnNetworks && isOnEngine(name) && usesOwnNetworks(name, settings)) return openOnOwnNetworks(name, settings, registry, tools);
  const hosts = name === "ecs" ? ecsHosts(settings) : undefined;
  if (!hosts) return openChosenDriver(name, settings, registry, tools);
  const open = (host: Host) =>
    openDriver(
      "ecs",
      { ecs: { ...hosts[host], registry, registryHosts: settings.registry.redirectHosts }, gpuPolicy: settings.gpuPolicy },
      { ...tools, log: tools.log.child({ host }) },
    );
  return hostsDriver({ cvm: await open("cvm"), datagrok: await open("datagrok"), apart: hosts.apart });
}
