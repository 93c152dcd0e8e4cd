import type { Log } from "../../lib/log.ts";
import type { Spec } from "../driver.ts";
import type { ContainerLine } from "../engine/containers.ts";
import type { Engine } from "../engine/engine.ts";
import { undefinedOn } from "../engine/faults.ts";
import { advisedFault } from "../faults.ts";
import { connectToNetwork, joinNetwork, NETWORK_LABEL, ownContainer, type Reach } from "../engine/reach.ts";
import { createRotation, type Rotation, contains, parseAddress, type Subnet, writeAddress } from "./addresses.ts";
import { type BridgeNetwork, createNetwork, findNetwork, removeNetwork, PACKAGE_BITS, PACKAGE_LABEL, packageNetworkName } from "./bridge-network.ts";

/** The network for one container. */
export type NetworkPlace = {
  /** The engine's id of the network, and its name. */
  id: string;
  network: string;
  /** It is from a report of the engine some seconds ago. */
  mayBeOld: boolean;
  /** Only containers of one package are on it. */
  ofPackage: boolean;
  /** Every address of berth's part was in use at the last update. */
  isFull(): boolean;
  /** Undefined if the engine assigns the addresses. */
  takeAddress(): string | undefined;
  releaseAddress(address: string): void;
  /** Resolves when berth's own container has joined, or could not. */
  joined: Promise<void>;
};

export type Networks = {
  /** `previous`: a place that may be old, after the engine refused a start there. The engine is then queried again. */
  placeFor(spec: Spec, signal: AbortSignal, previous?: NetworkPlace): Promise<NetworkPlace>;
  /** A list of the engine's containers that began at `since` (monotonic). */
  update(containers: readonly ContainerLine[], since: number): void;
  /** Connects berth's own container and the shared services, and removes empty networks; at most every 10 s. */
  maintain(containers: readonly ContainerLine[], signal: AbortSignal): Promise<void>;
  /** The network of this name was created or removed; without a name any network may have been. Reports from before are not used any more. */
  changed(name?: string): void;
  /** The address of a removed container. */
  release(network: string | undefined, address: string | undefined): void;
};

type NetworksDeps = {
  engine: Engine;
  /** The network in the settings. */
  network: string;
  reach: Reach;
  pools: readonly Subnet[];
  /** How long an address rests. */
  restMs: number;
  /** `container` or `alias=container`: containers that those of every package reach. */
  sharedServices: readonly string[];
  /** How long a package's network may be empty: the network of a sleeping package is. */
  emptyMs: number;
  log: Log;
};

/** 4 096 addresses: a Linux bridge accepts 1 023 containers, so some addresses have always rested. */
const SHARED_BITS = 12;
const MAINTAIN_EVERY_MS = 10_000;
/**
 * How long a report of the shared network is used: each report lists every container on it. A user may remove the network meanwhile, which the engine
 * allows only while nothing runs there. The engine then refuses the next start on it, and is queried again. An event of the network ends its report at once.
 */
const SHARED_NETWORK_MS = 10_000;
/** The name by which containers of packages reach berth's own container. */
const OWN_ALIAS = "berth";

/**
 * The networks of containers. With the reach `address` or `published` there is one isolated network, and berth is outside of it. With `name` berth's own
 * container must be a member, which isolation would cut off, so each package has its own network. A network that berth did not create is not isolated, and
 * the engine assigns its addresses.
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
  let shared: { current: BridgeNetwork; at: number } | undefined;
  /** The number of events of the shared network. */
  let changes = 0;
  let maintainedAt = -Infinity;

  const warnOnce = (key: string, fields: object, message: string) => {
    if (warned.has(key)) return;
    warned.add(key);
    log.warn({ network, ...fields }, message);
  };

  const placeOn = (current: BridgeNetwork, joined: Promise<void>, { mayBeOld = false, ofPackage = false } = {}): NetworkPlace => {
    const range = current.assigned && rangeOf(current.id, current.name, current.assigned);
    return {
      id: current.id,
      network: current.name,
      mayBeOld,
      ofPackage,
      isFull: () => range?.rotation.isFull() === true,
      takeAddress: () => {
        const number = range?.rotation.take();
        return range && number !== undefined ? writeAddress(range.assigned.first + number) : undefined;
      },
      releaseAddress: (address) => range?.rotation.release((parseAddress(address) ?? 0) - range.assigned.first),
      joined,
    };
  };
  const rangeOf = (id: string, name: string, assigned: Subnet) => {
    const range = ranges.get(id) ?? { name, assigned, rotation: createRotation(assigned.size, deps.restMs, clock) };
    ranges.set(id, range);
    return range;
  };

  const foreignWarning = () =>
    warnOnce("foreign", {}, "containers' network was not made by berth, its containers are not isolated: set BERTH_DOCKER_NETWORK to a new name");

  const ensure = async (name: string, labels: Record<string, string>, isolated: boolean, bits: number, from: number, signal: AbortSignal) => {
    for (let attempt = 1; ; attempt++) {
      const existing = await findNetwork(engine, name, signal);
      if (existing) return existing;
      if (attempt > 3) throw advisedFault("ENGINE_FAILED", `The network ${name} disappears after each creation`);
      await createNetwork(engine, { name, labels: { [NETWORK_LABEL]: network, ...labels }, isolated, bits, pools, from }, log, signal);
    }
  };

  const ensureShared = async (signal: AbortSignal): Promise<BridgeNetwork> => {
    const current = await ensure(network, {}, true, SHARED_BITS, 0, signal);
    if (!current.ours) {
      foreignWarning();
      return current;
    }
    if (current.isolated) return current;
    // Created by an older version of berth.
    if (current.members.size === 0 && (await removeNetwork(engine, current.id, signal))) return ensure(network, {}, true, SHARED_BITS, 0, signal);
    warnOnce(
      "old",
      { containers: current.members.size },
      "network of an older berth does not isolate its containers: stop all containers once, and start them again",
    );
    return current;
  };

  const placeOnShared = async (signal: AbortSignal, previous: NetworkPlace | undefined): Promise<NetworkPlace> => {
    if (shared !== undefined && previous?.id !== shared.current.id && clock.monotonic() - shared.at < SHARED_NETWORK_MS)
      return placeOn(shared.current, Promise.resolve(), { mayBeOld: true });
    const at = clock.monotonic();
    const before = changes;
    const current = await ensureShared(signal);
    // A network of an older berth is replaced when it is empty, so each start needs its members.
    shared = changes === before && (current.isolated || !current.ours) ? { current, at } : undefined;
    return placeOn(current, Promise.resolve());
  };

  const ensurePackage = async (spec: Spec, signal: AbortSignal): Promise<BridgeNetwork> => {
    const owner = { store: spec.labels.store, package: spec.package ?? spec.service };
    const labels = { [PACKAGE_LABEL]: owner.package, "berth.store": owner.store };
    // Another subnet each second, so that the addresses of a removed network rest too. In the upper half, because large networks are in the lower.
    const from = Math.floor(pools.reduce((sum, { size }) => sum + size, 0) / 2 ** PACKAGE_BITS / 2) + (Math.floor(clock.now() / 1_000) % 2_048);
    return ensure(packageNetworkName(network, owner), labels, false, PACKAGE_BITS, from, signal);
  };

  const connectServices = async ({ name, members }: Pick<BridgeNetwork, "name" | "members">, signal: AbortSignal) => {
    const connected = new Set(members.values());
    await Promise.all(
      services
        .filter(({ container }) => !connected.has(container))
        .map(async ({ alias, container }) => {
          try {
            await connectToNetwork(engine, name, container, [alias], signal);
            log.info({ network: name, container }, "connected shared service to a package's network");
          } catch (error) {
            signal.throwIfAborted();
            warnOnce(`service ${container}`, { container, err: error }, "connecting a container of BERTH_SHARED_SERVICES failed");
          }
        }),
    );
  };

  /** Repeated at the next start or list; the reason of a failure is logged once. */
  const joinOnce = async ({ id, name }: Pick<BridgeNetwork, "id" | "name">, signal: AbortSignal) => {
    const quiet = warned.has(`join ${id}`) ? { ...log, warn: log.debug } : log;
    if (await joinNetwork(engine, name, quiet, signal, [OWN_ALIAS]).catch(() => false)) return;
    warned.add(`join ${id}`);
    joins.delete(id);
  };

  /** Once for each network id. */
  const join = ({ id, name }: Pick<BridgeNetwork, "id" | "name">, signal: AbortSignal): Promise<void> => {
    const joining = joins.get(id) ?? joinOnce({ id, name }, signal);
    joins.set(id, joining);
    return joining;
  };

  const isForeign = async (signal: AbortSignal) => {
    if (foreign !== undefined) return foreign;
    const existing = await findNetwork(engine, network, signal);
    foreign = existing !== undefined && !existing.ours;
    if (foreign) foreignWarning();
    return foreign;
  };

  const maintainNow = async (containers: readonly ContainerLine[], signal: AbortSignal) => {
    if (await isForeign(signal)) {
      const existing = await findNetwork(engine, network, signal);
      if (existing) await join(existing, signal);
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
        const current = services.length === 0 ? undefined : await findNetwork(engine, id, signal);
        if (current && Labels?.[PACKAGE_LABEL] !== undefined) await connectServices(current, signal);
        continue;
      }
      const since = emptySince.get(id) ?? clock.monotonic();
      emptySince.set(id, since);
      if (Labels?.[PACKAGE_LABEL] !== undefined && clock.monotonic() - since >= deps.emptyMs) await removeEmpty(id, signal);
    }
    const ids = new Set(own.map(({ Id }) => Id));
    for (const map of [ranges, joins, emptySince]) for (const id of map.keys()) if (!ids.has(id)) map.delete(id);
  };

  /** Unless it has members besides berth's own container and shared services. */
  const removeEmpty = async (id: string, signal: AbortSignal) => {
    const current = await findNetwork(engine, id, signal);
    if (!current) return;
    const self = ownContainer();
    const guests = new Set(services.map(({ container }) => container));
    const others = [...current.members].filter(([member, name]) => !member.startsWith(self) && !guests.has(name) && name !== self);
    // A start that began meanwhile is about to connect its container.
    if (others.length > 0 || !emptySince.has(id)) return;
    for (const member of current.members.keys()) {
      const call = { doing: `Leaving the network ${current.name}`, signal };
      await undefinedOn([403, 404], () => engine.call(call, (docker) => docker.getNetwork(id).disconnect({ Container: member, Force: true })));
    }
    // berth's own container has left it, and joins it again if it stays.
    joins.delete(id);
    if (!(await removeNetwork(engine, id, signal))) return;
    for (const map of [ranges, joins, emptySince]) map.delete(id);
    log.info({ network: current.name }, "removed empty network of a package");
  };

  return {
    placeFor: async (spec, signal, previous) => {
      if (reach !== "name") return placeOnShared(signal, previous);
      if (await isForeign(signal)) {
        const current = await ensure(network, {}, true, SHARED_BITS, 0, signal);
        await join(current, signal);
        return placeOn(current, Promise.resolve());
      }
      const current = await ensurePackage(spec, signal);
      emptySince.delete(current.id);
      await connectServices(current, signal);
      return placeOn(current, join(current, signal), { ofPackage: true });
    },
    update: (containers, since) => {
      const endpoints = containers.flatMap(({ NetworkSettings }) => Object.values(NetworkSettings?.Networks ?? {}));
      for (const [id, { assigned, rotation }] of ranges) {
        const inUse = new Set<number>();
        for (const { NetworkID, IPAddress, IPAMConfig } of endpoints) {
          // A stopped container has only its configured address.
          const address = parseAddress(IPAddress || (IPAMConfig as { IPv4Address?: string } | null)?.IPv4Address || "");
          if (NetworkID === id && address !== undefined && contains(assigned, address)) inUse.add(address - assigned.first);
        }
        rotation.update(inUse, since);
      }
    },
    maintain: async (containers, signal) => {
      if (reach !== "name" || clock.monotonic() - maintainedAt < MAINTAIN_EVERY_MS) return;
      maintainedAt = clock.monotonic();
      await maintainNow(containers, signal);
    },
    changed: (name = network) => {
      if (name !== network) return;
      shared = undefined;
      changes++;
    },
    release: (id, address) => {
      const range = ranges.get(id ?? "");
      const number = parseAddress(address ?? "");
      if (range && number !== undefined && contains(range.assigned, number)) range.rotation.release(number - range.assigned.first);
    },
  };
}
