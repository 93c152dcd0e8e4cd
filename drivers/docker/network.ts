import { readFileSync } from "node:fs";
import type { Log } from "../../lib/log.ts";
import type { Engine } from "../engine/engine.ts";
import { answered } from "../engine/faults.ts";
import { candidates, enginePart, overlaps, readRoutes, readSubnet, type Subnet, writeAddress, writeSubnet } from "./subnets.ts";
import { hash } from "node:crypto";

/** On every network that berth made: the name of the network that the settings name. */
export const NETWORK_LABEL = "berth.network";
const ICC = "com.docker.network.bridge.enable_icc";

/** A network as the engine tells of it. `ours`: berth made it. `assigned`: the part of it whose addresses berth gives to containers. */
export type BridgeNetwork = {
  id: string;
  name: string;
  ours: boolean;
  /** Containers on it do not reach each other. */
  isolated: boolean;
  assigned: Subnet | undefined;
  /** Names of the containers that run on it, by their ids. */
  members: ReadonlyMap<string, string>;
};

/** What a new network is to be. `bits`: how many addresses it has, as the bits after the prefix. */
export type NetworkPlan = { name: string; labels: Record<string, string>; isolated: boolean; bits: number; pools: readonly Subnet[]; from: number };

/** Subnets that were refused as in use before the engine is let choose one. */
const ATTEMPTS = 64;

type NetworkDescription = {
  Id: string;
  Name: string;
  Labels?: Record<string, string> | null;
  Options?: Record<string, string> | null;
  IPAM?: { Config?: { Subnet?: string; IPRange?: string }[] | null };
  Containers?: Record<string, { Name: string }> | null;
};

/** Undefined where the engine has no such network. */
export async function findNetwork(engine: Engine, name: string, signal: AbortSignal | undefined): Promise<BridgeNetwork | undefined> {
  try {
    const doing = `Inspecting the network ${name}`;
    return read((await engine.call({ doing, signal }, (docker) => docker.getNetwork(name).inspect())) as NetworkDescription);
  } catch (error) {
    if (answered(error, 404)) return undefined;
    throw error;
  }
}

function read({ Id, Name, Labels, Options, IPAM, Containers }: NetworkDescription): BridgeNetwork {
  const [config] = IPAM?.Config ?? [];
  const subnet = readSubnet(config?.Subnet ?? "");
  const range = readSubnet(config?.IPRange ?? "");
  const ours = Labels?.[NETWORK_LABEL] !== undefined;
  // The last address of a network is for all of it.
  const assigned =
    ours && subnet && range && range.first === subnet.first && range.size < subnet.size
      ? { first: subnet.first + range.size, size: subnet.size - range.size - 1 }
      : undefined;
  const members = new Map(Object.entries(Containers ?? {}).map(([id, container]) => [id, container.Name]));
  return { id: Id, name: Name, ours, isolated: Options?.[ICC] === "false", assigned, members };
}

/**
 * Makes a bridge network with a subnet that neither the engine's other networks nor this machine's routes have; another process that makes it at the same
 * time is welcome. Where no subnet of the pools is free the engine chooses one, and assigns addresses itself.
 */
export async function createNetwork(engine: Engine, plan: NetworkPlan, log: Log, signal: AbortSignal): Promise<void> {
  const taken = [...(await usedSubnets(engine, signal)), ...routes(engine)];
  let attempts = 0;
  for (const subnet of candidates(plan.pools, 2 ** plan.bits, plan.from)) {
    if (taken.some((other) => overlaps(subnet, other))) continue;
    if (++attempts > ATTEMPTS) break;
    if (await create(engine, plan, subnet, signal)) return;
  }
  log.warn({ network: plan.name }, "No subnet of BERTH_DOCKER_SUBNETS is free: the engine chooses one, and may give an address again at once.");
  await create(engine, plan, undefined, signal);
}

/** False where the subnet is in use after all. */
async function create(engine: Engine, { name, labels, isolated }: NetworkPlan, subnet: Subnet | undefined, signal: AbortSignal): Promise<boolean> {
  const IPAM = subnet && {
    Config: [{ Subnet: writeSubnet(subnet), IPRange: writeSubnet(enginePart(subnet)), Gateway: writeAddress(subnet.first + 1) }],
  };
  const options = {
    Name: name,
    Driver: "bridge",
    // The engine refuses the second of two creators, also engines that would otherwise make two.
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
  return all.flatMap(({ IPAM }) => (IPAM?.Config ?? []).flatMap(({ Subnet: cidr }) => readSubnet(cidr ?? "") ?? []));
}

/** Of this machine, which is the engine's own unless set otherwise. */
function routes(engine: Engine): Subnet[] {
  if (engine.remote !== undefined) return [];
  try {
    return readRoutes(readFileSync("/proc/net/route", "utf8"));
  } catch {
    // Not Linux.
    return [];
  }
}

/** False where something is still on it. One that is not there is success. */
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

/** On a package's network: whose it is. */
export const PACKAGE_LABEL = "berth.package";
/** A /28: gateways, shared services and some containers. */
export const PACKAGE_BITS = 4;

/**
 * A package's network. It begins with `z-`, since a container on several networks has its default route by the first of them in the alphabet: one
 * that joins this network keeps the route, and with it the connections, that it has. Packages of two stores have two networks.
 */
export function packageNetworkName(network: string, owner: { store: string; package: string }): string {
  const readable = owner.package
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, "-")
    .replace(/^-|-$/g, "")
    .slice(0, 30);
  return `${packagePrefix(network)}${readable}-${hash("sha256", JSON.stringify([owner.store, owner.package])).slice(0, 8)}`;
}

export function packagePrefix(network: string): string {
  return `z-${network}-`;
}

/** The entry of the network that a container of berth's is on: the one that the settings name, or its package's. */
export function ownEndpoint<T>(network: string, networks: Record<string, T> | null | undefined): T | undefined {
  const own = networks?.[network];
  if (own !== undefined) return own;
  return Object.entries(networks ?? {}).find(([name]) => name.startsWith(packagePrefix(network)))?.[1];
}
