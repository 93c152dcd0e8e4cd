import { hash } from "node:crypto";
import { readFileSync } from "node:fs";
import type { ContainerInfo } from "dockerode";
import type { Log } from "../../lib/log.ts";
import { readJson } from "../engine/dial.ts";
import type { Engine } from "../engine/engine.ts";
import { answered, undefinedOn } from "../engine/faults.ts";
import { NETWORK_LABEL } from "../engine/reach.ts";
import { candidates, enginePart, overlaps, parseRoutes, parseSubnet, type Subnet, writeAddress, writeSubnet } from "./addresses.ts";

const ICC = "com.docker.network.bridge.enable_icc";

/** A network as the engine reports it. `ours`: berth created it. `assigned`: its part whose addresses berth assigns to containers. */
export type BridgeNetwork = {
  id: string;
  name: string;
  ours: boolean;
  /** Containers on it cannot reach each other. */
  isolated: boolean;
  assigned: Subnet | undefined;
  /** Names of its containers, by their ids. */
  members: ReadonlyMap<string, string>;
};

/** A network to create. `bits`: the bits after its prefix. */
type NetworkPlan = { name: string; labels: Record<string, string>; isolated: boolean; bits: number; pools: readonly Subnet[]; from: number };

/** Refused subnets before the engine chooses one. */
const ATTEMPTS = 64;

type NetworkDescription = {
  Id: string;
  Name: string;
  Labels?: Record<string, string> | null;
  Options?: Record<string, string> | null;
  IPAM?: { Config?: { Subnet?: string; IPRange?: string }[] | null };
  Containers?: Record<string, { Name: string }> | null;
};

export async function findNetwork(engine: Engine, name: string, signal: AbortSignal | undefined): Promise<BridgeNetwork | undefined> {
  const call = { doing: `Inspecting the network ${name}`, signal };
  const description = await undefinedOn([404], () =>
    engine.call(call, (docker, own) => readJson(docker, `/networks/${encodeURIComponent(name)}`, own)),
  );
  return description && parseNetwork(description as NetworkDescription);
}

function parseNetwork({ Id, Name, Labels, Options, IPAM, Containers }: NetworkDescription): BridgeNetwork {
  const [config] = IPAM?.Config ?? [];
  const subnet = parseSubnet(config?.Subnet ?? "");
  const range = parseSubnet(config?.IPRange ?? "");
  const ours = Labels?.[NETWORK_LABEL] !== undefined;
  // The last address of a network is its broadcast address.
  const assigned =
    ours && subnet && range && range.first === subnet.first && range.size < subnet.size
      ? { first: subnet.first + range.size, size: subnet.size - range.size - 1 }
      : undefined;
  const members = new Map(Object.entries(Containers ?? {}).map(([id, container]) => [id, container.Name]));
  return { id: Id, name: Name, ours, isolated: Options?.[ICC] === "false", assigned, members };
}

/**
 * Creates a bridge network with a subnet that neither the engine's other networks nor this machine's routes use. Another process may create it at the same
 * time. If no subnet of the pools is free, the engine chooses one and assigns the addresses.
 */
export async function createNetwork(engine: Engine, plan: NetworkPlan, log: Log, signal: AbortSignal): Promise<void> {
  const taken = [...(await usedSubnets(engine, signal)), ...routes(engine)];
  let attempts = 0;
  for (const subnet of candidates(plan.pools, 2 ** plan.bits, plan.from)) {
    if (taken.some((other) => overlaps(subnet, other))) continue;
    if (++attempts > ATTEMPTS) break;
    if (await create(engine, plan, subnet, signal)) return;
  }
  log.warn({ network: plan.name }, "no subnet of BERTH_DOCKER_SUBNETS is free: the engine chooses one, and may reassign addresses at once");
  await create(engine, plan, undefined, signal);
}

/** False if the subnet is in use after all. */
async function create(engine: Engine, { name, labels, isolated }: NetworkPlan, subnet: Subnet | undefined, signal: AbortSignal): Promise<boolean> {
  const IPAM = subnet && {
    Config: [{ Subnet: writeSubnet(subnet), IPRange: writeSubnet(enginePart(subnet)), Gateway: writeAddress(subnet.first + 1) }],
  };
  const options = {
    Name: name,
    Driver: "bridge",
    // The engine refuses a second network of that name; older engines would create two.
    CheckDuplicate: true,
    Labels: labels,
    ...(isolated ? { Options: { [ICC]: "false" } } : {}),
    ...(IPAM ? { IPAM } : {}),
  };
  try {
    await engine.call({ doing: `Creating the network ${name}`, signal }, (docker, abortSignal) => docker.createNetwork({ ...options, abortSignal }));
    return true;
  } catch (error) {
    if (answered(error, 409)) return true;
    if (subnet && /overlaps|already in use|conflicts/i.test(String(error))) return false;
    throw error;
  }
}

async function usedSubnets(engine: Engine, signal: AbortSignal): Promise<Subnet[]> {
  const all = (await engine.call({ doing: "Listing networks", signal }, (docker, abortSignal) =>
    docker.listNetworks({ abortSignal }),
  )) as NetworkDescription[];
  return all.flatMap(({ IPAM }) => (IPAM?.Config ?? []).flatMap(({ Subnet: cidr }) => parseSubnet(cidr ?? "") ?? []));
}

/** The routes of this machine, if the engine is on it. */
function routes(engine: Engine): Subnet[] {
  if (engine.remote !== undefined) return [];
  try {
    return parseRoutes(readFileSync("/proc/net/route", "utf8"));
  } catch {
    // Not Linux.
    return [];
  }
}

/** False if it has members. Succeeds if it does not exist. */
export async function removeNetwork(engine: Engine, id: string, signal: AbortSignal | undefined): Promise<boolean> {
  try {
    await engine.call({ doing: `Removing the network ${id}`, signal }, (docker, abortSignal) => docker.getNetwork(id).remove({ abortSignal }));
    return true;
  } catch (error) {
    if (answered(error, 404)) return true;
    if (answered(error, 403)) return false;
    throw error;
  }
}

/** On a package's network: the package. */
export const PACKAGE_LABEL = "berth.package";
/** A /28, for gateways, shared services and some containers. */
export const PACKAGE_BITS = 4;

/**
 * The name of a package's network. It begins with `z-`, because a container on several networks has its default route by the first in the alphabet: a
 * container that joins this network keeps its route and its connections. Packages of two stores have two networks.
 */
export function packageNetworkName(network: string, owner: { store: string; package: string }): string {
  const readable = owner.package
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, "-")
    .replace(/^-|-$/g, "")
    .slice(0, 30);
  return `${packagePrefix(network)}${readable}-${hash("sha256", JSON.stringify([owner.store, owner.package])).slice(0, 8)}`;
}

function packagePrefix(network: string): string {
  return `z-${network}-`;
}

/** The entry of berth's network: the one in the settings, or the package's. */
export function ownEndpoint<T>(network: string, networks: Record<string, T> | null | undefined): T | undefined {
  const own = networks?.[network];
  if (own !== undefined) return own;
  return Object.entries(networks ?? {}).find(([name]) => name.startsWith(packagePrefix(network)))?.[1];
}

/** The current or configured address of a container on berth's network. */
export function endpointOf(
  network: string,
  networks: ContainerInfo["NetworkSettings"]["Networks"] | undefined,
): { id: string; address: string } | undefined {
  const endpoint = ownEndpoint(network, networks);
  const address = endpoint?.IPAddress || (endpoint?.IPAMConfig as { IPv4Address?: string } | null | undefined)?.IPv4Address;
  return endpoint && address ? { id: endpoint.NetworkID, address } : undefined;
}
