import type { ContainerInfo } from "dockerode";
import type { Log } from "../../lib/log.ts";
import type { Spec } from "../driver.ts";
import type { Engine } from "../engine/engine.ts";
import { answered } from "../engine/faults.ts";
import { connectToNetwork, joinNetwork, ownContainer } from "../engine/join-network.ts";
import type { Reach } from "../engine/reach.ts";
import {
  type BridgeNetwork,
  createNetwork,
  findNetwork,
  NETWORK_LABEL,
  removeNetwork,
  ownEndpoint,
  PACKAGE_BITS,
  PACKAGE_LABEL,
  packageNetworkName,
} from "./network.ts";
import { createRotation, type Rotation } from "./rotation.ts";
import { contains, readAddress, type Subnet, writeAddress } from "./subnets.ts";

/** Where one container goes. */
export type NetworkPlace = {
  /** The engine's id of the network, and its name. */
  id: string;
  network: string;
  /** It is what the engine reported some seconds ago. */
  mayBeOld: boolean;
  /** Every address of berth's own is in use, as far as is known. */
  isFull(): boolean;
  /** One of berth's own for it; undefined where the engine gives them. */
  takeAddress(): string | undefined;
  releaseAddress(address: string): void;
  /** Resolves once berth's own container is there, or could not be put there. */
  joined: Promise<void>;
};

export type Networks = {
  /** `known`: one that may be old, after the engine refused a start there; the engine is queried again. */
  placeFor(spec: Spec, signal: AbortSignal, known?: NetworkPlace): Promise<NetworkPlace>;
  /** What a list of the engine's containers shows, which began at `since` (monotonic). */
  seen(containers: readonly ContainerInfo[], since: number): void;
  /** Puts berth's own container and the shared services where they have to be, and removes what is empty; bounded, and never more often than every 10 s. */
  tend(containers: readonly ContainerInfo[], signal: AbortSignal): Promise<void>;
  /** The network of this name was created or removed; any may have been where the name is left out. What the engine reported of it before no longer counts. */
  changed(name?: string): void;
  /** An address of a container that is gone. */
  released(network: string | undefined, address: string | undefined): void;
};

export type NetworksDeps = {
  engine: Engine;
  /** The network that the settings name. */
  network: string;
  reach: Reach;
  pools: readonly Subnet[];
  /** How long an address rests. */
  restMs: number;
  /** `container` or `alias=container`: what every package's containers reach. */
  sharedServices: readonly string[];
  /** How long a package's network may be empty; an on-demand package's is, while it sleeps. */
  emptyMs: number;
  log: Log;
};

/** 4 096 addresses: a Linux bridge takes 1 023 containers, so there are always some that rested. */
const SHARED_BITS = 12;
const TEND_EVERY_MS = 10_000;
/**
 * How long the report of the shared network counts: the engine writes every container on it into each. A user may remove the network
 * meanwhile, which the engine allows only while nothing runs there; the next start on it is then refused, and the engine queried again. Where events are followed,
 * the report counts until the network is removed or created.
 */
const SHARED_NETWORK_MS = 10_000;
/** By which name containers of packages reach berth's own container. */
export const OWN_ALIAS = "berth";

/**
 * The networks of containers. By address or by published port one network does, on which containers do not reach each other: berth is outside of it. By
 * name berth's container has to be on it, which the same rule would cut off; so each package has a network of its own. On a network that berth did not
 * make, nothing is isolated and addresses are the engine's.
 */
export function openNetworks(deps: NetworksDeps): Networks {
  const { engine, network, reach, pools, sharedServices, log } = deps;
  const { clock } = engine;
  const services = sharedServices.map((entry) => {
    const [first = "", container = first] = entry.split("=");
    return { alias: first, container };
  });
  const ranges = new Map<string, { name: string; assigned: Subnet; rotation: Rotation }>();
  const joins = new Map<string, Promise<void>>();
  const emptySince = new Map<string, number>();
  const warned = new Set<string>();
  let foreign: boolean | undefined;
  let shared: { found: BridgeNetwork; at: number } | undefined;
  /** Of the shared network, as reported by the engine's events. */
  let changes = 0;
  let tendedAt = -Infinity;

  const warnOnce = (what: string, fields: object, sentence: string) => {
    if (warned.has(what)) return;
    warned.add(what);
    log.warn({ network, ...fields }, sentence);
  };

  const placeOn = (found: BridgeNetwork, joined: Promise<void>, mayBeOld = false): NetworkPlace => {
    const range = found.assigned && rangeOf(found.id, found.name, found.assigned);
    return {
      id: found.id,
      network: found.name,
      mayBeOld,
      isFull: () => range?.rotation.isFull() === true,
      takeAddress: () => {
        const number = range?.rotation.take();
        return range && number !== undefined ? writeAddress(range.assigned.first + number) : undefined;
      },
      releaseAddress: (address) => range?.rotation.release((readAddress(address) ?? 0) - range.assigned.first),
      joined,
    };
  };
  const rangeOf = (id: string, name: string, assigned: Subnet) => {
    const known = ranges.get(id);
    if (known) return known;
    const made = { name, assigned, rotation: createRotation(assigned.size, deps.restMs, clock) };
    ranges.set(id, made);
    return made;
  };

  const foreignWarning = () =>
    warnOnce(
      "foreign",
      {},
      "The containers' network was not made by berth: containers on it reach each other and its other members. Name one that does not exist in BERTH_DOCKER_NETWORK to have them isolated.",
    );

  const ensure = async (name: string, labels: Record<string, string>, isolated: boolean, bits: number, from: number, signal: AbortSignal) => {
    for (let attempt = 1; ; attempt++) {
      const found = await findNetwork(engine, name, signal);
      if (found) return found;
      if (attempt > 3) throw new Error(`The network ${name} goes as soon as it is made.`);
      await createNetwork(engine, { name, labels: { [NETWORK_LABEL]: network, ...labels }, isolated, bits, pools, from }, log, signal);
    }
  };

  const ensureShared = async (signal: AbortSignal): Promise<BridgeNetwork> => {
    const found = await ensure(network, {}, true, SHARED_BITS, 0, signal);
    if (!found.ours) {
      foreignWarning();
      return found;
    }
    if (found.isolated) return found;
    // Of an older version of berth.
    if (found.members.size === 0 && (await removeNetwork(engine, found.id, signal))) return ensure(network, {}, true, SHARED_BITS, 0, signal);
    warnOnce(
      "old",
      { containers: found.members.size },
      "Containers on this network reach each other: an older berth made it. It is made anew when no container is on it: stop all containers once, and start them again.",
    );
    return found;
  };

  const placeOnShared = async (signal: AbortSignal, known: NetworkPlace | undefined): Promise<NetworkPlace> => {
    if (shared !== undefined && known?.id !== shared.found.id && clock.monotonic() - shared.at < SHARED_NETWORK_MS)
      return placeOn(shared.found, Promise.resolve(), true);
    const at = clock.monotonic();
    const before = changes;
    const current = await ensureShared(signal);
    // One of an older berth is made anew as soon as it is empty, so each start has to see who is on it.
    shared = changes === before && (current.isolated || !current.ours) ? { found: current, at } : undefined;
    return placeOn(current, Promise.resolve());
  };

  const ensurePackage = async (spec: Spec, signal: AbortSignal): Promise<BridgeNetwork> => {
    const owner = { store: spec.labels.store, package: spec.package ?? spec.service };
    const labels = { [PACKAGE_LABEL]: owner.package, "berth.store": owner.store };
    // Elsewhere each second, so that the addresses of a network that was removed rest too; in the upper half, since large networks are below.
    const from = Math.floor(pools.reduce((sum, { size }) => sum + size, 0) / 2 ** PACKAGE_BITS / 2) + (Math.floor(clock.now() / 1_000) % 2_048);
    return ensure(packageNetworkName(network, owner), labels, false, PACKAGE_BITS, from, signal);
  };

  const connectServices = async (found: Pick<BridgeNetwork, "name" | "members">, signal: AbortSignal) => {
    const there = new Set(found.members.values());
    await Promise.all(
      services
        .filter(({ container }) => !there.has(container))
        .map(async ({ alias, container }) => {
          try {
            await connectToNetwork(engine, found.name, container, [alias], signal);
            log.info({ network: found.name, container }, "Connected a shared service to a package's network.");
          } catch (error) {
            signal.throwIfAborted();
            warnOnce(
              `service ${container}`,
              { container, err: error },
              "A container of BERTH_SHARED_SERVICES could not be connected to packages' networks.",
            );
          }
        }),
    );
  };

  /** Tried again with the next start or look; the reason of a failure is logged once. */
  const joinOnce = async ({ id, name }: Pick<BridgeNetwork, "id" | "name">, signal: AbortSignal) => {
    const quiet = warned.has(`join ${id}`) ? { ...log, warn: log.debug } : log;
    if (await joinNetwork(engine, name, quiet, signal, [OWN_ALIAS]).catch(() => false)) return;
    warned.add(`join ${id}`);
    joins.delete(id);
  };

  /** Once for each network. Of one that was removed and made anew the id is another. */
  const join = (found: Pick<BridgeNetwork, "id" | "name">, signal: AbortSignal): Promise<void> => {
    const known = joins.get(found.id);
    if (known) return known;
    const joining = joinOnce(found, signal);
    joins.set(found.id, joining);
    return joining;
  };

  const isForeign = async (signal: AbortSignal) => {
    if (foreign !== undefined) return foreign;
    const found = await findNetwork(engine, network, signal);
    foreign = found !== undefined && !found.ours;
    if (foreign) foreignWarning();
    return foreign;
  };

  const tendNow = async (containers: readonly ContainerInfo[], signal: AbortSignal) => {
    if (await isForeign(signal)) {
      const found = await findNetwork(engine, network, signal);
      if (found) await join(found, signal);
      return;
    }
    const own = (await engine.call({ doing: "Listing networks", signal }, (docker, abortSignal) =>
      docker.listNetworks({ filters: { label: [`${NETWORK_LABEL}=${network}`] }, abortSignal }),
    )) as { Id: string; Name: string; Labels?: Record<string, string> }[];
    const used = new Set(
      containers.flatMap(({ NetworkSettings }) => Object.values(NetworkSettings?.Networks ?? {}).map(({ NetworkID }) => NetworkID)),
    );
    for (const { Id: id, Name: name, Labels } of own) {
      if (used.has(id)) {
        emptySince.delete(id);
        await join({ id, name }, signal);
        const found = services.length === 0 ? undefined : await findNetwork(engine, id, signal);
        if (found && Labels?.[PACKAGE_LABEL] !== undefined) await connectServices(found, signal);
        continue;
      }
      const since = emptySince.get(id) ?? clock.monotonic();
      emptySince.set(id, since);
      if (Labels?.[PACKAGE_LABEL] !== undefined && clock.monotonic() - since >= deps.emptyMs) await removeEmpty(id, signal);
    }
    const there = new Set(own.map(({ Id }) => Id));
    for (const map of [ranges, joins, emptySince]) for (const id of map.keys()) if (!there.has(id)) map.delete(id);
  };

  /** Only where nothing is on it but berth's own container and shared services. */
  const removeEmpty = async (id: string, signal: AbortSignal) => {
    const found = await findNetwork(engine, id, signal);
    if (!found) return;
    const self = ownContainer();
    const guests = new Set(services.map(({ container }) => container));
    const others = [...found.members].filter(([member, name]) => !member.startsWith(self) && !guests.has(name) && name !== self);
    // A start that began meanwhile is about to put its container there.
    if (others.length > 0 || !emptySince.has(id)) return;
    for (const member of found.members.keys()) {
      const call = { doing: `Leaving the network ${found.name}`, signal };
      await engine
        .call(call, (docker) => docker.getNetwork(id).disconnect({ Container: member, Force: true }))
        .catch((error: unknown) => {
          if (!answered(error, 403, 404)) throw error;
        });
    }
    // Berth's own container has left it, and joins it anew where it stays.
    joins.delete(id);
    if (!(await removeNetwork(engine, id, signal))) return;
    for (const map of [ranges, joins, emptySince]) map.delete(id);
    log.info({ network: found.name }, "Removed the network of a package that has no containers.");
  };

  return {
    placeFor: async (spec, signal, known) => {
      if (reach !== "name") return placeOnShared(signal, known);
      if (await isForeign(signal)) {
        const found = await ensure(network, {}, true, SHARED_BITS, 0, signal);
        await join(found, signal);
        return placeOn(found, Promise.resolve());
      }
      const found = await ensurePackage(spec, signal);
      emptySince.delete(found.id);
      await connectServices(found, signal);
      return placeOn(found, join(found, signal));
    },
    seen: (containers, since) => {
      const endpoints = containers.flatMap(({ NetworkSettings }) => Object.values(NetworkSettings?.Networks ?? {}));
      for (const [id, { assigned, rotation }] of ranges) {
        const inUse = new Set<number>();
        for (const { NetworkID, IPAddress, IPAMConfig } of endpoints) {
          // One that does not run has none but the one that was given to it.
          const address = readAddress(IPAddress || (IPAMConfig as { IPv4Address?: string } | null)?.IPv4Address || "");
          if (NetworkID === id && address !== undefined && contains(assigned, address)) inUse.add(address - assigned.first);
        }
        rotation.seen(inUse, since);
      }
    },
    tend: async (containers, signal) => {
      if (reach !== "name" || clock.monotonic() - tendedAt < TEND_EVERY_MS) return;
      tendedAt = clock.monotonic();
      await tendNow(containers, signal);
    },
    changed: (name = network) => {
      if (name !== network) return;
      shared = undefined;
      changes++;
    },
    released: (id, address) => {
      const range = ranges.get(id ?? "");
      const number = readAddress(address ?? "");
      if (range && number !== undefined && contains(range.assigned, number)) range.rotation.release(number - range.assigned.first);
    },
  };
}

/** The addresses that a container is at, or was given, on berth's own networks. */
export function endpointOf(
  network: string,
  networks: ContainerInfo["NetworkSettings"]["Networks"] | undefined,
): { id: string; address: string } | undefined {
  const found = ownEndpoint(network, networks);
  const address = found?.IPAddress || (found?.IPAMConfig as { IPv4Address?: string } | null | undefined)?.IPv4Address;
  return found && address ? { id: found.NetworkID, address } : undefined;
}
