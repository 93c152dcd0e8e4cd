import type { Ticker } from "../../lib/clock.ts";
import { type ForwardTarget, keyOfTarget, type Lease } from "../decision.ts";
import type { ResponseReader } from "../http1/message-reader.ts";
import type { Connection, ConnectionUser } from "../connections/connection.ts";

/** Idle connections to containers, by container and address. The most recently used one is taken first. */
export type ConnectionPool = {
  take(target: ForwardTarget, lease: Pick<Lease, "owner">): ContainerConnection | undefined;
  /** Keeps a connection for the next exchange with its target, until the lease reports that the target is gone. */
  put(connection: ContainerConnection, target: ForwardTarget, lease: Pick<Lease, "owner" | "onTargetGone">): void;
  /** The connection closed. */
  forget(connection: ContainerConnection): void;
  size(): number;
  close(): void;
};

/** Idle connections of one container at one address: more exchanges at once are rare. */
const MAX_IDLE = 256;

/** It is empty while all its connections are in use, and is dropped after the last has closed. `gone`: the container has left the address. */
type IdleConnectionList = { readonly key: string; readonly connections: ContainerConnection[]; gone: boolean; dropped: boolean; unwatch(): void };

export function openPool({ ticker, idleMs }: { ticker: Ticker; idleMs: number }): ConnectionPool {
  const lists = new Map<string, IdleConnectionList>();
  /** Usually a container's address is the same object as before, and used for no other container: then no key is needed. */
  const byTarget = new WeakMap<ForwardTarget, IdleConnectionList>();

  /** With the owner: connections to an address that another container had lead to that one, or nowhere. */
  const keyOf = (target: ForwardTarget, { owner }: Pick<Lease, "owner">) => `${owner} ${keyOfTarget(target)}`;
  const listOf = (target: ForwardTarget, lease: Pick<Lease, "owner">): IdleConnectionList | undefined =>
    byTarget.get(target) ?? lists.get(keyOf(target, lease));
  const openList = (target: ForwardTarget, lease: Pick<Lease, "owner" | "onTargetGone">): IdleConnectionList => {
    const list: IdleConnectionList = { key: keyOf(target, lease), connections: [], gone: false, dropped: false, unwatch: () => undefined };
    list.unwatch = lease.onTargetGone(target, () => {
      list.gone = true;
      for (const idle of list.connections) idle.destroy();
    });
    lists.set(list.key, list);
    ticker.add(expiry);
    return list;
  };
  const drop = (list: IdleConnectionList) => {
    list.dropped = true;
    if (lists.get(list.key) === list) lists.delete(list.key);
    list.unwatch();
    if (lists.size === 0) ticker.delete(expiry);
  };
  const expiry = {
    tick: (now: number) => {
      // The oldest come first. Each removes itself when it closes.
      for (const { connections } of lists.values()) for (const idle of connections) if (now - idle.idleSince >= idleMs) idle.destroy();
    },
  };

  return {
    take: (target, lease) => {
      const list = listOf(target, lease);
      let idle = list?.connections.pop();
      while (idle !== undefined && !idle.connection.writable) idle = list?.connections.pop();
      return idle;
    },
    put: (connection, target, lease) => {
      // A dropped list no longer watches its address.
      const before = listOf(target, lease);
      const list = before !== undefined && !before.dropped ? before : (lists.get(keyOf(target, lease)) ?? openList(target, lease));
      if (list !== before || connection.idleList !== list) byTarget.set(target, list);
      if (list.connections.length >= MAX_IDLE) return connection.destroy();
      if (list.gone) {
        connection.destroy();
        if (list.connections.length === 0) drop(list);
        return;
      }
      connection.reader.dropHead();
      connection.reused = true;
      connection.connectMs = 0;
      connection.idleSince = ticker.now;
      connection.idleList = list;
      list.connections.push(connection);
    },
    forget: (connection) => {
      const { idleList: list } = connection;
      if (list === undefined) return;
      connection.idleList = undefined;
      const at = list.connections.indexOf(connection);
      if (at !== -1) list.connections.splice(at, 1);
      if (list.connections.length === 0) drop(list);
    },
    size: () => [...lists.values()].reduce((sum, { connections }) => sum + connections.length, 0),
    close: () => {
      for (const list of lists.values()) {
        for (const idle of list.connections) idle.destroy();
        drop(list);
      }
    },
  };
}

/** The exchange that uses a connection to a container. */
export type ContainerConnectionUser = {
  onResponse(memory: Buffer, at: number, end: number): void;
  onContainerDrain(): void;
  onContainerEnd(): void;
  onContainerClose(error: Error | undefined): void;
};

/** A connection to a container, for one exchange after another. */
export class ContainerConnection implements ConnectionUser {
  readonly connection: Connection;
  readonly reader: ResponseReader;
  /** The duration of the connect; 0 after the first exchange. */
  connectMs: number;
  /** An exchange has used it, so it may have died unnoticed. */
  reused = false;
  /** Since when it is idle, on the ticker's scale. */
  idleSince = 0;
  exchange: ContainerConnectionUser | undefined;
  /** Where the pool keeps it between exchanges. */
  idleList: IdleConnectionList | undefined;
  readonly #forget: (connection: ContainerConnection) => void;

  constructor(
    connection: Connection,
    { reader, connectMs, forget }: { reader: ResponseReader; connectMs: number; forget(connection: ContainerConnection): void },
  ) {
    this.connection = connection;
    this.reader = reader;
    this.connectMs = connectMs;
    this.#forget = forget;
    connection.user = this;
    connection.resume();
  }

  onBytes(memory: Buffer, at: number, end: number): void {
    if (this.exchange !== undefined) {
      this.exchange.onResponse(memory, at, end);
      this.reader.expireHead();
      // Without a request, these bytes would become the response to the next one.
    } else this.destroy();
  }

  onDrain(): void {
    this.exchange?.onContainerDrain();
  }

  onEnd(): void {
    if (this.exchange !== undefined) this.exchange.onContainerEnd();
    else this.destroy();
  }

  onClose(error: Error | undefined): void {
    this.reader.close();
    this.#forget(this);
    this.exchange?.onContainerClose(error);
  }

  destroy(): void {
    this.connection.destroy();
  }
}
