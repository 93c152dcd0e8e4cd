import type { ContainerAddress } from "../../gateway/contract.ts";
import { readFinalStage } from "../../lib/dockerfile/read-final-stage.ts";
import type { Log } from "../../lib/log.ts";
import type { Container, Image } from "../model/entities.ts";
import type { Store } from "../store/open-store.ts";

/** A container of this image that listens on this port speaks a protocol of its own. */
export type TcpImage = { name: string; port: number };

/** `ports`: of the listeners, first and last. `host`: at which clients reach the gateways. `images` count where container.json says nothing. */
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
    const isNeeded = await isTcp(row);
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
