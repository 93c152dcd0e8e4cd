import { readFileSync } from "node:fs";
import { hostname } from "node:os";
import type { ContainerInspectInfo, NetworkConnectOptions } from "dockerode";
import type { Log } from "../../lib/log.ts";
import type { Address } from "../driver.ts";
import type { Proof } from "../ready.ts";
import type { Engine } from "./engine.ts";
import { answered, undefinedOn } from "./faults.ts";

export const REACHES = ["auto", "address", "name", "published"] as const;
export type Reach = Exclude<(typeof REACHES)[number], "auto">;

/** On every network that berth created: the name of the network in the settings. */
export const NETWORK_LABEL = "berth.network";

/** The networks of containers if the settings name none. */
export const DEFAULT_NETWORKS = { docker: "berth", swarm: "berth-swarm" } as const;

/** What the engine's list and its inspect have about the ways to a container. */
export type ContainerRoutes = { service: string; port: number; ip: string | undefined; hostPort: number | undefined };

/** The three ways from a gateway to a container. */
export const REACH_RULES: Record<
  Reach,
  { proof: Proof; publishes: boolean; address(ways: ContainerRoutes, engineHost: string): Address | undefined }
> = {
  /** By its IP on the bridge network: berth runs on the engine's own Linux machine. */
  address: { proof: "accepted", publishes: false, address: ({ ip, port }) => (ip ? { host: ip, port } : undefined) },
  /** By the engine's DNS: berth runs in a container on the same network. */
  name: { proof: "accepted", publishes: false, address: ({ service, ip, port }) => (ip ? { host: service, port } : undefined) },
  /** By a port of the engine's machine: the only way into a virtual machine or to another host. */
  published: { proof: "held", publishes: true, address: ({ hostPort }, host) => (hostPort ? { host, port: hostPort } : undefined) },
};

export function chooseReach(setting: (typeof REACHES)[number], here: { inContainer: boolean; remote: boolean; platform: NodeJS.Platform }): Reach {
  if (setting !== "auto") return setting;
  if (here.inContainer) return "name";
  return here.remote || here.platform !== "linux" ? "published" : "address";
}

/** The engine's machine, as seen from here. `remote` is its host over TCP, which may be this machine too. */
export function engineMachine(remote: string | undefined): { host: string; elsewhere: boolean } {
  const here = remote === undefined || /^(localhost|127\..*|::1)$/.test(remote);
  return { host: here ? "127.0.0.1" : remote, elsewhere: !here };
}

/** More than any known plugin needs, and few enough for many containers on one machine. */
export const DEFAULT_PIDS_LIMIT = 4_096;

/** Connects berth's own container to the network, so that the names of services resolve. Logs a failure, and returns false. */
export async function joinNetwork(engine: Engine, network: string, log: Log, signal: AbortSignal, aliases: readonly string[] = []): Promise<boolean> {
  const self = ownContainer();
  try {
    await connectToNetwork(engine, network, self, aliases, signal);
    log.info({ network, container: self }, "joined the containers' network");
    return true;
  } catch (error) {
    signal.throwIfAborted();
    log.warn(
      { network, container: self, err: error },
      "joining the containers' network failed: if names do not resolve, connect berth's container to it",
    );
    return false;
  }
}

/** Connects a container to a network, with aliases for its other members. Succeeds if it is connected already. */
export async function connectToNetwork(
  engine: Engine,
  network: string,
  container: string,
  aliases: readonly string[],
  signal: AbortSignal,
): Promise<void> {
  try {
    const options = { Container: container, EndpointConfig: { Aliases: [...aliases] } };
    await engine.call({ doing: `Connecting ${container} to the network ${network}`, signal }, (docker, abortSignal) =>
      docker.getNetwork(network).connect({ ...options, abortSignal } as NetworkConnectOptions),
    );
  } catch (error) {
    // 403 and "already exists", on an overlay 409 and "already attached": a user or an earlier start has connected it.
    if (!answered(error, 403) && !/already (?:exists|attached)/.test(String(error))) throw error;
  }
}

/** The networks of berth's own container. `host`: it has the network of its machine. */
export type OwnNetworks = { host: boolean; names: string[] };

/** Networks that every engine has: containers have no names there, or no network of their own. */
const BUILT_IN_NETWORKS = ["bridge", "host", "none", "ingress", "docker_gwbridge"];

/** The first is the one that it was started with. Without those that berth created. Undefined if berth's container is not on this engine. */
export async function readOwnNetworks(engine: Engine, signal: AbortSignal): Promise<OwnNetworks | undefined> {
  const own = await inspectOwn(engine, signal);
  if (own === undefined) return undefined;
  const { NetworkMode: first = "" } = own.HostConfig;
  const all = (await engine.call({ doing: "Listing networks", signal }, (docker, abortSignal) =>
    docker.listNetworks({ filters: { label: [NETWORK_LABEL] }, abortSignal }),
  )) as { Name: string }[];
  const excluded = new Set([...BUILT_IN_NETWORKS, ...all.map(({ Name }) => Name)]);
  const names = Object.keys(own.NetworkSettings.Networks ?? {}).filter((name) => !excluded.has(name));
  return { host: first === "host", names: names.toSorted((one, other) => Number(other === first) - Number(one === first)) };
}

/** Undefined if berth's container is not on this engine, or berth runs in none. */
export function inspectOwn(engine: Engine, signal: AbortSignal): Promise<ContainerInspectInfo | undefined> {
  const call = { doing: "Inspecting berth's own container", signal };
  return undefinedOn([404], () => engine.call(call, (docker, abortSignal) => docker.getContainer(ownContainer()).inspect({ abortSignal })));
}

/** From the path of files that the engine mounts into each container; a user may have set the host name. */
export function ownContainer(): string {
  try {
    return /\/containers\/([0-9a-f]{64})\//.exec(readFileSync("/proc/self/mountinfo", "utf8"))?.[1] ?? hostname();
  } catch {
    return hostname();
  }
}
