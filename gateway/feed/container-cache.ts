import { ByteMap } from "../../lib/byte-map.ts";
import type { ContainerView } from "../contract.ts";

const ID_BYTES = 36;

type ContainerListener = (view: ContainerView | undefined) => void;

/** Which containers have TCP listeners. */
export type TcpListenerSource = {
  /** Calls `onChange` with the port of each container that has one, and with each change, until the returned function is called. Undefined: it has none. */
  watch(onChange: (id: string, port: number | undefined) => void): () => void;
};

type ContainerCache = {
  tcpListeners: TcpListenerSource;
  find(id: string): ContainerView | undefined;
  findBytes(bytes: Uint8Array, start: number, end: number): ContainerView | undefined;
  /** Counts the changes. */
  changes(): number;
  watch(id: string, onChange: ContainerListener): () => void;
  /** Replaces everything, as after a reconnect. Watchers receive what changed meanwhile. */
  replace(views: readonly ContainerView[]): void;
  change(view: ContainerView): void;
  remove(id: string): void;
};

/** The containers, as control last published them. They stay while control is away. */
export function createContainerCache(): ContainerCache {
  let views = new Map<string, ContainerView>();
  /** The same: the id of a request is found here. */
  const byBytes = new ByteMap<ContainerView>({ maxKeyBytes: ID_BYTES });
  let changes = 0;
  const watching = createWatchers();
  const tcp = createTcpPorts();
  const notify = (id: string) => watching.notify(id, views.get(id));

  return {
    find: (id) => views.get(id),
    findBytes: (bytes, start, end) => byBytes.getBytes(bytes, start, end),
    changes: () => changes,
    watch: watching.add,
    tcpListeners: tcp.source,
    replace: (all) => {
      changes++;
      const before = views;
      views = new Map(all.map((view) => [view.id, view]));
      byBytes.clear();
      for (const view of all) byBytes.set(view.id, view);
      const changed = watching.ids().filter((id) => JSON.stringify(before.get(id)) !== JSON.stringify(views.get(id)));
      tcp.replace(views);
      for (const id of changed) notify(id);
    },
    change: (view) => {
      changes++;
      views.set(view.id, view);
      byBytes.set(view.id, view);
      tcp.set(view.id, view.tcp?.port);
      notify(view.id);
    },
    remove: (id) => {
      changes++;
      views.delete(id);
      byBytes.delete(id);
      tcp.set(id, undefined);
      notify(id);
    },
  };
}

function createTcpPorts() {
  const ports = new Map<string, number>();
  const listeners = new Set<(id: string, port: number | undefined) => void>();
  const set = (id: string, port: number | undefined) => {
    if (ports.get(id) === port) return;
    if (port === undefined) ports.delete(id);
    else ports.set(id, port);
    for (const onChange of listeners) onChange(id, port);
  };
  const source: TcpListenerSource = {
    watch: (onChange) => {
      listeners.add(onChange);
      for (const [id, port] of ports) onChange(id, port);
      return () => listeners.delete(onChange);
    },
  };
  return {
    source,
    set,
    /** Ports are released before others take them. */
    replace: (views: ReadonlyMap<string, ContainerView>) => {
      for (const [id, port] of ports) if (views.get(id)?.tcp?.port !== port) set(id, undefined);
      for (const { id, tcp } of views.values()) set(id, tcp?.port);
    },
  };
}

/** Listeners by container. */
export function createWatchers() {
  const watching = new Map<string, Set<ContainerListener>>();
  return {
    ids: (): string[] => [...watching.keys()],
    has: (id: string): boolean => watching.has(id),
    add: (id: string, onChange: ContainerListener): (() => void) => {
      const listeners = watching.get(id) ?? new Set();
      watching.set(id, listeners.add(onChange));
      return () => {
        listeners.delete(onChange);
        if (listeners.size === 0 && watching.get(id) === listeners) watching.delete(id);
      };
    },
    notify: (id: string, view: ContainerView | undefined): void => {
      // A listener may add or remove listeners.
      const listeners = [...(watching.get(id) ?? [])];
      for (const onChange of listeners) onChange(view);
    },
  };
}
