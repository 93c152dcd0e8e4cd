import type { Ticker } from "../../lib/clock.ts";
import { type ForwardTarget, keyOfTarget, type Lease } from "../decision.ts";
import type { ContainerConnection, IdleConnectionList } from "./container-connection.ts";

/** Idle connections to containers, by container and address. The most recently used one is taken first. */
export type ConnectionPool = {
  take(target: ForwardTarget, lease: TargetOwner): ContainerConnection | undefined;
  /** Keeps a connection for the next exchange with its target, until the lease reports that the target is gone. */
  put(connection: ContainerConnection, target: ForwardTarget, lease: TargetOwner & Pick<Lease, "onTargetGone">): void;
  /** The connection closed. */
  forget(connection: ContainerConnection): void;
  size(): number;
  close(): void;
};

/**
 * A container that has responded without reading its request has so long to do so. And a stream that encrypts reports what the kernel has taken a little
 * later, maybe after the response.
 */
const UNREAD_MS = 1_000;

/** Idle connections of one container at one address: more exchanges at once are rare. */
const MAX_IDLE = 256;

type TargetOwner = Pick<Lease, "owner" | "ownerNumber">;

export function openPool({ ticker, idleMs }: { ticker: Ticker; idleMs: number }): ConnectionPool {
  const lists = new Map<string, IdleConnectionList>();
  /** Usually a container's address is the same object as before, and used for no other container: then no key is needed. */
  const byTarget = new WeakMap<ForwardTarget, IdleConnectionList>();
  /** By the owner's number: the list that it used last. For a small request, the look-ups above cost as much as all of its heads. */
  const byOwner: (IdleConnectionList | undefined)[] = [];

  const shortestMs = Math.min(idleMs, UNREAD_MS);

  /** With the owner: connections to an address that another container had lead to that one, or nowhere. */
  const keyOf = (target: ForwardTarget, { owner }: TargetOwner) => `${owner} ${keyOfTarget(target)}`;
  const listOf = (target: ForwardTarget, lease: TargetOwner): IdleConnectionList | undefined => {
    const { ownerNumber } = lease;
    const last = ownerNumber === undefined ? undefined : byOwner[ownerNumber];
    // A dropped list no longer watches its address.
    if (last !== undefined && last.target === target && last.owner === lease.owner && !last.dropped) return last;
    const before = byTarget.get(target);
    const list = before !== undefined && !before.dropped ? before : lists.get(keyOf(target, lease));
    if (list !== undefined) remember(list, target, lease);
    return list;
  };
  const remember = (list: IdleConnectionList, target: ForwardTarget, { ownerNumber }: TargetOwner) => {
    list.target = target;
    byTarget.set(target, list);
    if (ownerNumber !== undefined) byOwner[ownerNumber] = list;
  };
  const openList = (target: ForwardTarget, lease: TargetOwner & Pick<Lease, "onTargetGone">): IdleConnectionList => {
    const key = keyOf(target, lease);
    const { owner } = lease;
    const list: IdleConnectionList = { key, owner, target, connections: [], gone: false, dropped: false, unwatch: () => undefined };
    list.unwatch = lease.onTargetGone(target, () => {
      list.gone = true;
      for (const idle of list.connections) idle.destroy();
    });
    lists.set(list.key, list);
    remember(list, target, lease);
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
      for (const { connections } of lists.values()) {
        // The oldest come first. Each removes itself when it closes.
        for (let at = 0; at < connections.length; at++) {
          const idle = connections[at] as ContainerConnection;
          const silentMs = now - idle.idleSince;
          if (silentMs < shortestMs) break;
          if (silentMs >= (idle.isFree ? idleMs : UNREAD_MS)) idle.destroy();
        }
      }
    },
  };

  return {
    take: (target, lease) => {
      const idle = listOf(target, lease)?.connections;
      const last = idle?.pop();
      if (idle === undefined || last === undefined || last.isFree) return last;
      idle.push(last);
      const at = idle.findLastIndex(({ isFree }) => isFree);
      return at === -1 ? undefined : idle.splice(at, 1)[0];
    },
    put: (connection, target, lease) => {
      // It was taken from the list of its target.
      const from = connection.idleList;
      const list = from !== undefined && !from.dropped ? from : (listOf(target, lease) ?? openList(target, lease));
      if (list.connections.length >= MAX_IDLE) return connection.destroy();
      if (list.gone) {
        connection.destroy();
        if (list.connections.length === 0) drop(list);
        return;
      }
      connection.park(list, ticker.now);
      list.connections.push(connection);
    },
    forget: (connection) => {
      const { idleList: list } = connection;
      if (list === undefined) return;
      connection.unlist();
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
