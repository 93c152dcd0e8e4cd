import { type Lease, keyOfTarget, type ForwardTarget } from "../decision.ts";
import type { Ticker } from "../../lib/clock.ts";
import type { ResponseReader } from "../http1/message-reader.ts";
import type { NetConnection, NetConnectionUser } from "../connections/connection.ts";

/** Connections to containers that are in no use at the moment, by container and address: the one used last is taken first. */
export type ConnectionPool = {
  take(target: ForwardTarget, lease: Pick<Lease, "owner">): ContainerConnection | undefined;
  /** Keeps a connection for the next exchange with its target; `lease` is how the pool learns that nobody is there any more. */
  put(side: ContainerConnection, target: ForwardTarget, lease: Pick<Lease, "owner" | "onTargetGone">): void;
  /** It closed. */
  forget(side: ContainerConnection): void;
  /** How many it keeps. */
  size(): number;
  close(): void;
};

/** More of one container than this are not worth keeping: so many exchanges at once are rare. */
const MOST_OF_ONE = 256;

/** Those of one container at one address; empty while all of them are in use, dropped once none is left. `gone`: the container is not there any more. */
export type IdleConnectionList = { readonly key: string; readonly connections: ContainerConnection[]; gone: boolean; unwatch(): void };

export function openPool(parts: { ticker: Ticker; idleMs: number }): ConnectionPool {
  const { ticker, idleMs } = parts;
  const shelves = new Map<string, IdleConnectionList>();
  /** A container's address mostly comes as the same object as before, which is its alone: then there is no key to be made. */
  const known = new WeakMap<ForwardTarget, IdleConnectionList>();

  /** An address that another container had may still have its connections: they lead to that one, or nowhere. */
  const keyOf = (target: ForwardTarget, { owner }: Pick<Lease, "owner">) => `${owner} ${keyOfTarget(target)}`;
  const shelfOf = (target: ForwardTarget, lease: Pick<Lease, "owner">): IdleConnectionList | undefined =>
    known.get(target) ?? shelves.get(keyOf(target, lease));
  const openShelf = (target: ForwardTarget, lease: Pick<Lease, "owner" | "onTargetGone">): IdleConnectionList => {
    const shelf: IdleConnectionList = { key: keyOf(target, lease), connections: [], gone: false, unwatch: () => undefined };
    shelf.unwatch = lease.onTargetGone(target, () => {
      shelf.gone = true;
      for (const idle of shelf.connections) idle.destroy();
    });
    shelves.set(shelf.key, shelf);
    ticker.add(expiry);
    return shelf;
  };
  const drop = (shelf: IdleConnectionList) => {
    if (shelves.get(shelf.key) === shelf) shelves.delete(shelf.key);
    shelf.unwatch();
    if (shelves.size === 0) ticker.delete(expiry);
  };
  const expiry = {
    tick: (now: number) => {
      for (const { connections: sides } of shelves.values()) {
        // The oldest stand in front; each takes itself out as it closes.
        for (const side of sides) if (now - side.idleSince >= idleMs) side.destroy();
      }
    },
  };

  return {
    take: (target, lease) => {
      const shelf = shelfOf(target, lease);
      let side = shelf?.connections.pop();
      while (side !== undefined && !side.connection.writable) side = shelf?.connections.pop();
      return side;
    },
    put: (side, target, lease) => {
      // Not one that was dropped: nobody watches its address any more.
      const kept = shelfOf(target, lease);
      const shelf = kept !== undefined && shelves.get(kept.key) === kept ? kept : (shelves.get(keyOf(target, lease)) ?? openShelf(target, lease));
      if (shelf !== kept || side.idleList !== shelf) known.set(target, shelf);
      if (shelf.connections.length >= MOST_OF_ONE) return side.destroy();
      if (shelf.gone) {
        side.destroy();
        if (shelf.connections.length === 0) drop(shelf);
        return;
      }
      side.reader.dropHead();
      side.reused = true;
      side.connectMs = 0;
      side.idleSince = ticker.now;
      side.idleList = shelf;
      shelf.connections.push(side);
    },
    forget: (side) => {
      const { idleList: shelf } = side;
      if (shelf === undefined) return;
      side.idleList = undefined;
      const at = shelf.connections.indexOf(side);
      if (at !== -1) shelf.connections.splice(at, 1);
      if (shelf.connections.length === 0) drop(shelf);
    },
    size: () => [...shelves.values()].reduce((sum, { connections: sides }) => sum + sides.length, 0),
    close: () => {
      for (const shelf of shelves.values()) {
        for (const side of shelf.connections) side.destroy();
        drop(shelf);
      }
    },
  };
}

/** The exchange that uses a connection to a container. */
export type ContainerConnectionUser = {
  onResponse(chunk: Buffer): void;
  onContainerDrain(): void;
  onContainerEnd(): void;
  onContainerClose(error: Error | undefined): void;
};

/** A connection to a container, which carries one exchange after another. */
export class ContainerConnection implements NetConnectionUser {
  readonly connection: NetConnection;
  readonly reader: ResponseReader;
  /** How long it took to make; 0 once an exchange went over it. */
  connectMs: number;
  /** True once an exchange went over it: then it may have died unnoticed. */
  reused = false;
  /** When it fell out of use, on the ticker's scale. */
  idleSince = 0;
  exchange: ContainerConnectionUser | undefined;
  /** Where the pool keeps it between exchanges. */
  idleList: IdleConnectionList | undefined;
  readonly #forget: (side: ContainerConnection) => void;

  constructor(link: NetConnection, parts: { reader: ResponseReader; connectMs: number; forget(side: ContainerConnection): void }) {
    this.connection = link;
    this.reader = parts.reader;
    this.connectMs = parts.connectMs;
    this.#forget = parts.forget;
    link.user = this;
    link.resume();
  }

  onBytes(chunk: Buffer): void {
    if (this.exchange !== undefined) this.exchange.onResponse(chunk);
    // What nobody asked for would be taken for the answer to the next request.
    else this.destroy();
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
