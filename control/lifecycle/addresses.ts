import type { Address, Observed } from "../../drivers/driver.ts";
import type { ContainerAddress } from "../../gateway/contract.ts";
import type { Clock } from "../../lib/clock.ts";
import { readFinalStage } from "../../lib/dockerfile.ts";
import type { Log } from "../../lib/log.ts";
import type { Container, Image, OwnedAddress } from "../model/entities.ts";
import type { Store } from "../store/open-store.ts";

type ReportedAddresses = Pick<Observed, "addresses" | "instance">;

/** The reported addresses as they are stored, each once. */
export function ownedAddresses(addresses: readonly Address[], instance: string | undefined): OwnedAddress[] {
  const owned: OwnedAddress[] = [];
  for (const { host, port } of addresses)
    if (!hasAddress(owned, { host, port })) owned.push({ host, port, ...(instance === undefined ? {} : { instance }) });
  return owned;
}

/** Those at which the same instance is still reported. What either side does not report is taken to be the same. */
export function stillReported({ addresses, instance }: ReportedAddresses, owned: readonly OwnedAddress[]): OwnedAddress[] {
  const isSame = (other: OwnedAddress["instance"]) => instance === undefined || other === undefined || instance === other;
  return owned.filter((one) => hasAddress(addresses, one) && isSame(one.instance));
}

/** `elsewhere`: it is at none of its stored addresses. `changed`: some of several came or went. Without a stored address it has no port. */
export function compareAddresses(reported: ReportedAddresses, owned: readonly OwnedAddress[]): "same" | "changed" | "elsewhere" {
  if (owned.length === 0) return "same";
  const remaining = stillReported(reported, owned).length;
  if (remaining === 0) return "elsewhere";
  return remaining === owned.length && remaining === ownedAddresses(reported.addresses, undefined).length ? "same" : "changed";
}

/** For messages: `10.0.0.1 port 80 and 10.0.0.2 port 80`. */
export function describeAddresses(addresses: readonly Address[]): string {
  return addresses.map(({ host, port }) => `${host} port ${port}`).join(" and ");
}

export function hasAddress(addresses: readonly Address[], { host, port }: Address): boolean {
  return addresses.some((one) => one.host === host && one.port === port);
}

/** How many ends of a container's instances were reported since this process began. */
export type EndCounts = {
  record(id: string): void;
  /** A response to a query from before this number changed may describe the time before the end. */
  count(id: string): number;
  forget(id: string): void;
};

export function createEndCounts(): EndCounts {
  const counts = new Map<string, number>();
  return {
    record: (id) => void counts.set(id, (counts.get(id) ?? 0) + 1),
    count: (id) => counts.get(id) ?? 0,
    forget: (id) => void counts.delete(id),
  };
}

/** An interrupted watch is mostly there again within a moment; an address that was in use is not given to another pod so soon. */
const GRACE_MS = 5_000;

/**
 * Whether stored addresses may be sent to. Where the orchestrator gives them to others without control's doing (`Driver.watchedAddresses`), they count only
 * while its events arrive, and after a break once a list has shown that they are what they were.
 */
export type WatchedAddresses = {
  current(): boolean;
  /** `isWatched`: the orchestrator turned out to be such a one. Addresses then count once a list has shown them. */
  connected(isWatched?: boolean): void;
  disconnected(): void;
  /** To be called before the list is requested; what it returns, once every row was held against it. */
  verifying(): () => void;
  close(): void;
};

/** `watched`: as `Driver.watchedAddresses`; an event may report it later. `changed` is called whenever `current()` changes. */
export type WatchedAddressesDeps = { clock: Pick<Clock, "after">; watched: boolean; changed(): void };

export function openWatchedAddresses({ clock, changed, ...deps }: WatchedAddressesDeps): WatchedAddresses {
  let { watched } = deps;
  let current = !watched;
  let isConnected = false;
  let breaks = 0;
  let cancel = () => {};
  return {
    current: () => current,
    connected: (isWatched = false) => {
      isConnected = true;
      cancel();
      if (watched || !isWatched) return;
      watched = true;
      current = false;
      changed();
    },
    disconnected: () => {
      if (!watched) return;
      isConnected = false;
      breaks++;
      cancel();
      cancel = clock.after(GRACE_MS, () => {
        if (!current) return;
        current = false;
        changed();
      });
    },
    verifying: () => {
      const then = breaks;
      const begun = isConnected;
      return () => {
        if (current || !begun || then !== breaks) return;
        current = true;
        changed();
      };
    },
    close: () => cancel(),
  };
}

/** A container of this image that listens on this port speaks a protocol of its own. */
export type TcpImage = { name: string; port: number };

/** `ports`: of the listeners, first and last. `host`: at which clients reach the gateways. `images` count where container.json has nothing. */
export type TcpListenerOptions = { ports: { first: number; last: number }; host: string; images: readonly TcpImage[] };

/** Gives containers the ports of their TCP listeners. A container keeps its port until it is removed, or no longer needs one. */
export type TcpPorts = {
  /** The container with the port that its definition needs, or without one; to be called in a transaction, before the container is published. */
  assign(row: Container): Promise<Container>;
  /** Assigns the ports of all containers; publishes those that changed. */
  assignAll(): Promise<void>;
  /** The address of its listener for clients; undefined: it has none. */
  listenerOf(row: Pick<Container, "tcpPort">): ContainerAddress | undefined;
};

type TcpPortsDeps = {
  /** Undefined: there are no listeners. Stored ports are kept, for when there are listeners again. */
  options: TcpListenerOptions | undefined;
  store: Pick<Store, "containers" | "images" | "transaction">;
  changes: { publish(container: Container): void };
  log: Pick<Log, "error">;
};

export function createTcpPorts({ options, store, changes, log }: TcpPortsDeps): TcpPorts {
  if (options === undefined) return { assign: async (row) => row, assignAll: async () => {}, listenerOf: () => undefined };
  const { ports, host, images } = options;
  const isListener = (port: number | undefined): port is number => port !== undefined && port >= ports.first && port <= ports.last;

  const isTcp = async ({ config, imageId }: Pick<Container, "config" | "imageId">): Promise<boolean> => {
    if (config.tcp !== undefined || images.length === 0) return config.tcp === true;
    const image = await store.images.find(imageId);
    const names = image === undefined ? [] : imageNames(image);
    return images.some(({ name, port }) => (config.port ?? port) === port && names.includes(repositoryOf(name)));
  };
  const assign: TcpPorts["assign"] = async (row) => {
    // Connections cannot be distributed: a further replica has no listener.
    const isNeeded = row.replicaOf === undefined && (await isTcp(row));
    if (isNeeded ? isListener(row.tcpPort) : row.tcpPort === undefined) return row;
    const tcpPort = isNeeded ? freePort(await store.containers.tcpPorts(), ports) : undefined;
    if (isNeeded && tcpPort === undefined) log.error({ container: row.name, ...ports }, "no TCP port left: extend BERTH_TCP_PORTS");
    return tcpPort === row.tcpPort ? row : ((await store.containers.update(row.id, { tcpPort })) ?? row);
  };

  return {
    assign,
    assignAll: async () => {
      const ids = await store.containers.tcpCandidates(images.map(({ name }) => repositoryOf(name)));
      // One transaction each: other work has its turn in between.
      for (const id of ids) {
        await store.transaction(async () => {
          const row = await store.containers.find(id);
          const assigned = row && (await assign(row));
          if (assigned && assigned.tcpPort !== row.tcpPort) changes.publish(assigned);
        });
      }
    },
    listenerOf: ({ tcpPort }) => (isListener(tcpPort) ? { host, port: tcpPort } : undefined),
  };
}

/** After the highest one in use, so that clients of a removed container seldom reach another; else the lowest free one. */
function freePort(taken: readonly number[], { first, last }: TcpListenerOptions["ports"]): number | undefined {
  const used = new Set(taken.filter((port) => port >= first && port <= last));
  const next = Math.max(first - 1, ...used) + 1;
  if (next <= last) return next;
  for (let port = first; port <= last; port++) if (!used.has(port)) return port;
  return undefined;
}

/** Its own, and that of the image which its Dockerfile begins from. */
function imageNames({ ref, dockerfile }: Image): string[] {
  const base = dockerfile === "" ? undefined : readFinalStage(dockerfile).from;
  return [ref, ...(base === undefined ? [] : [base])].map(repositoryOf);
}

/** `postgres` of `docker.io/library/postgres:16@sha256:…`. */
function repositoryOf(ref: string): string {
  const [tagged = ""] = ref.toLowerCase().split("@", 1);
  const colon = tagged.indexOf(":", tagged.lastIndexOf("/") + 1);
  const path = colon < 0 ? tagged : tagged.slice(0, colon);
  return path.replace(/^(?:index\.)?docker\.io\//, "").replace(/^library\//, "");
}
