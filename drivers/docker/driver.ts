import { existsSync } from "node:fs";
import { isIP } from "node:net";
import type { Clock } from "../../lib/clock.ts";
import { Fault } from "../../lib/fault.ts";
import type { Log } from "../../lib/log.ts";
import type { Call, DeployCall, Driver, DriverEvent, ImageSource, Registry, ResolvedImage } from "../driver.ts";
import type { ContainerLine } from "../engine/containers.ts";
import { containerUsage, type Engine, engineCapacity, openEngine } from "../engine/engine.ts";
import { openExec } from "../engine/exec.ts";
import { describeImage, findLocalCopy, localImage, PULL_IDLE_MS, pullAndInspect } from "../engine/images.ts";
import { containerListeners } from "../engine/listening.ts";
import { chooseReach, DEFAULT_PIDS_LIMIT, engineMachine, type REACHES } from "../engine/reach.ts";
import { eventStream, STATE_EVENTS } from "../engine/streams.ts";
import { advisedFault } from "../faults.ts";
import { parseReference } from "../image.ts";
import { OURS, refuseBadName } from "../labels.ts";
import { createRotation, DEFAULT_SUBNETS, parseSubnet } from "./addresses.ts";
import { destroy, type DockerSite, pause } from "./create-destroy.ts";
import { deploy } from "./deploy.ts";
import { findByName, foreignContainers } from "./foreign.ts";
import { endpointOf, PACKAGE_BITS } from "./bridge-network.ts";
import { openNetworks } from "./networks.ts";
import { type DockerView, findService, inspect, list, listLines, logs } from "./observe.ts";

export type DockerOptions = {
  /** In the syntax of `DOCKER_HOST`: unix:///path or tcp://host:port; by default the engine's usual socket. */
  host?: string | undefined;
  /** Speak TLS; `folder` holds ca.pem, cert.pem and key.pem (`DOCKER_CERT_PATH`). */
  tls?: { folder: string } | undefined;
  /** The time limit of a call; by default 30 s. */
  callMs?: number;
  /** The bridge network of all containers, or by name the prefix of their networks; created if it does not exist. */
  network: string;
  /** Further networks of every container, which exist already. */
  alsoOn?: readonly string[];
  /** The pools of subnets for berth's networks, in CIDR notation; by default `DEFAULT_SUBNETS`. */
  subnets?: readonly string[];
  /** How long a released address or published port is not assigned again. */
  addressRestMs?: number;
  /** Ports of the engine's machine to publish on, the first and the last. */
  publishPorts?: { first: number; last: number };
  /** `container` or `alias=container`: containers that those of every package reach by name. */
  sharedServices?: readonly string[];
  /** How long a package's network may be empty. */
  emptyNetworkMs?: number;
  reach: (typeof REACHES)[number];
  /** After how long an open port counts although the image's own health check fails. */
  openPortMs?: number;
  /** The limit of processes and threads of one container; by default `DEFAULT_PIDS_LIMIT`. */
  pidsLimit?: number;
  /** The host at which gateways on other machines reach the engine's machine: ports are then published there. */
  publishHost?: string | undefined;
  /** Resolves names without a registry, and has the logins with which the engine pulls. */
  registry?: Registry | undefined;
};

const ADDRESS_REST_MS = 60_000;
/** A check that needs a program which the image does not have fails for ever, although the app works. */
const OPEN_PORT_MS = 30_000;
/** Linux assigns these to programs that listen on port 0. */
const PUBLISH_PORTS = { first: 32_768, last: 60_999 };
/** So that a sleeping package need not create its network again at each wake. */
const EMPTY_NETWORK_MS = 3_600_000;

/** A Docker engine as the orchestrator. Opens no connection before the first call. Faults: SETTINGS_INVALID. */
export function dockerDriver(options: DockerOptions & { clock: Clock; log: Log }): Driver {
  const { clock, log, network } = options;
  const engine = openEngine(options, clock);
  const machine = engineMachine(engine.remote);
  const { publishHost } = options;
  const setting = publishHost !== undefined && options.reach === "auto" ? "published" : options.reach;
  const reach = chooseReach(setting, { inContainer: existsSync("/.dockerenv"), remote: engine.remote !== undefined, platform: process.platform });
  if (publishHost !== undefined && reach !== "published")
    throw new Fault("SETTINGS_INVALID", `BERTH_DOCKER_PUBLISH_HOST is for published ports, and BERTH_DOCKER_REACH is ${reach}: change one of them.`);
  const view: DockerView = { network, reach, engineHost: publishHost ?? machine.host };
  const site: DockerSite = {
    reach,
    hostIp: hostIp(publishHost, !machine.elsewhere),
    pidsLimit: options.pidsLimit ?? DEFAULT_PIDS_LIMIT,
    storageLimit: true,
  };
  const {
    addressRestMs: restMs = ADDRESS_REST_MS,
    publishPorts = PUBLISH_PORTS,
    sharedServices = [],
    emptyNetworkMs: emptyMs = EMPTY_NETWORK_MS,
  } = options;
  const pools = (options.subnets ?? DEFAULT_SUBNETS).flatMap((cidr) => parseSubnet(cidr) ?? []);
  const networks = openNetworks({ engine, network, reach, pools, restMs, sharedServices, emptyMs, log });
  const ports = { first: publishPorts.first, rotation: createRotation(publishPorts.last - publishPorts.first + 1, restMs, clock) };

  const update = (lines: readonly ContainerLine[], since: number) => {
    networks.update(lines, since);
    const published = lines.flatMap(({ Ports }) => Ports.flatMap(({ PublicPort }) => (PublicPort === undefined ? [] : PublicPort - ports.first)));
    ports.rotation.update(new Set(published.filter((port) => port >= 0 && port <= publishPorts.last - ports.first)), since);
  };
  const refresh = async (signal: AbortSignal) => {
    const since = clock.monotonic();
    const lines = await listLines(engine, signal);
    update(lines, since);
    return lines;
  };
  const openPortMs = options.openPortMs ?? OPEN_PORT_MS;
  const deployDeps = { engine, view, site, alsoOn: options.alsoOn ?? [], ports, log, openPortMs, place: networks.placeFor, refresh };

  return {
    name: "docker",
    pulls: true,
    healthchecks: true,
    // Half of a package's network: an address rests after its container.
    replicas: reach === "name" ? { mostInPackage: 2 ** PACKAGE_BITS / 2 - 1 } : {},
    resolve: (image, call) => resolve(engine, image, call, { log, registry: options.registry }),
    deploy: async (spec, call) => {
      call.signal.throwIfAborted();
      refuseBadName(spec.service);
      return deploy(deployDeps, spec, call);
    },
    pause: (service, call) => pause(engine, view, service, call),
    destroy: async (service, call) => {
      const destroyed = await destroy(engine, view, service, call);
      const endpoint = endpointOf(network, destroyed?.NetworkSettings.Networks);
      networks.release(endpoint?.id, endpoint?.address);
    },
    inspect: (service, call) => inspect(engine, view, service, call),
    list: async (call) => {
      const lines = await refresh(call.signal);
      await networks.maintain(lines, call.signal);
      return list(engine, view, lines, call);
    },
    logs: (service, options, call) => logs(engine, view, service, options, call),
    capacity: ({ signal }) => engineCapacity(engine, signal),
    listeners: async (service, { signal }) => {
      const container = await findService(engine, view, service, signal);
      return container && containerListeners(engine, container.Id, signal);
    },
    usage: async (service, { signal }) => {
      const container = await findByName(engine, service, signal);
      return container?.State.Running ? containerUsage(engine, container.Id, signal) : undefined;
    },
    exec: async (service, options, { signal }) => {
      const container = await findService(engine, view, service, signal);
      return container?.State.Running ? openExec(engine, container.Id, options, signal) : undefined;
    },
    foreign: async () => foreignContainers(engine, view),
    events: (call) => events(engine, log, call, networks.changed),
    close: async () => engine.close(),
  };
}

/** A host name does not tell on which address. On this machine only berth needs the port; on another machine berth needs its public address. */
function hostIp(publishHost: string | undefined, loopback: boolean): string {
  if (publishHost !== undefined) return isIP(publishHost) === 0 ? "" : publishHost;
  return loopback ? "127.0.0.1" : "";
}

/** Events after which the address of a container may be another's. */
const ENDING: ReadonlySet<string | undefined> = new Set(["kill", "stop", "die", "destroy"]);

/**
 * An instance is a container of the engine, by its id. `onNetwork` is called with the name of each network that is created or removed, and without a name
 * after a break, when any network may have changed. There is no filter by label, because events of networks have no labels.
 */
async function* events(engine: Engine, log: Log, call: Call, onNetwork: (name?: string) => void): AsyncGenerator<DriverEvent> {
  for await (const event of eventStream(engine, { type: ["container", "network"], event: [...STATE_EVENTS, "kill", "stop"] }, log, call)) {
    if (event === "connected" || event === "disconnected") {
      onNetwork();
      yield { kind: event };
      continue;
    }
    if (event.Type === "network") {
      onNetwork(event.Actor?.Attributes?.["name"]);
      continue;
    }
    const { name, [OURS]: container } = event.Actor?.Attributes ?? {};
    if (name === undefined || container === undefined) continue;
    const ended = ENDING.has(event.Action) ? { ended: { instance: event.Actor?.ID } } : {};
    yield { kind: "changed", service: name, container, ...ended };
  }
}

/** With a local copy, a registry that is silent for this time counts as unreachable. */
const REFRESH_IDLE_MS = 15_000;

type DockerResolveDeps = { log: Log; registry: Registry | undefined };

/**
 * Looks up a name without a registry in the configured registries. If none has it, it is the engine's own image, or one of the engine's default registry. A
 * tag may have moved since its pull, so it is pulled again unless the registry reports the same digest. The engine's copy is used while the registry fails.
 */
async function resolve(engine: Engine, { ref }: ImageSource, call: DeployCall, deps: DockerResolveDeps): Promise<ResolvedImage> {
  const { registry, log } = deps;
  const named = parseReference(ref);
  if (named.kind === "id") {
    const local = await localImage(engine, ref, call.signal);
    if (local) return describeImage(engine, local, call.signal);
    throw advisedFault("IMAGE_NOT_FOUND", `The engine has no image ${ref}.`);
  }
  if (named.registry !== undefined || registry === undefined) return refresh(engine, ref, call, deps);
  let resolved: Awaited<ReturnType<Registry["resolve"]>>;
  try {
    resolved = await registry.resolve(ref, call);
  } catch (error) {
    if (call.signal.aborted || !(error instanceof Fault)) throw error;
    const local = await findLocalCopy(engine, ref, registry, call);
    if (!local) throw error;
    log.warn({ ref, code: error.code, cause: error.message }, "registry failed, using the engine's own copy");
    return describeImage(engine, local.copy, call.signal, { ref });
  }
  return refresh(engine, resolved?.reference ?? ref, call, deps, resolved?.digest);
}

/** Pulls the image unless the engine's copy is current. `digest` is the current digest of the tag, if known. */
async function refresh(engine: Engine, ref: string, call: DeployCall, { log, registry }: DockerResolveDeps, digest?: string): Promise<ResolvedImage> {
  const named = parseReference(ref);
  const movable = named.kind === "name" && named.digest === undefined && named.registry !== undefined;
  const local = await localImage(engine, ref, call.signal).catch((error: unknown) => {
    // Its author may have pushed another one.
    if (!movable || !isRefused(error)) throw error;
    return undefined;
  });
  const same = digest !== undefined && local?.RepoDigests?.some((name) => name.endsWith(`@${digest}`));
  if (local && (!movable || same)) return describeImage(engine, local, call.signal, { ref, digest });
  try {
    const pulled = await pullAndInspect(engine, ref, call, { registry, idleMs: local ? REFRESH_IDLE_MS : PULL_IDLE_MS });
    return await describeImage(engine, pulled, call.signal, { ref, digest });
  } catch (error) {
    if (!local || call.signal.aborted || !(error instanceof Fault) || error.code === "ENGINE_UNREACHABLE" || isRefused(error)) throw error;
    log.warn({ ref, code: error.code, cause: error.message }, "pull failed, using the engine's own copy");
    return describeImage(engine, local, call.signal, { ref });
  }
}

const isRefused = (error: unknown): boolean => error instanceof Fault && error.code === "IMAGE_REFUSED";
