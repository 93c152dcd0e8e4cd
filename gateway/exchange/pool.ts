import type { Lease } from "../decision.ts";
import { keyOfTarget, type Target } from "../contract.ts";
import type { ContainerSide } from "./container-side.ts";
import type { Ticker } from "./ticker.ts";

/** Connections to containers that are in no use at the moment, by container and address: the one used last is taken first. */
export type Pool = {
  take(target: Target, lease: Pick<Lease, "owner">): ContainerSide | undefined;
  /** Keeps a connection for the next exchange with its target; `lease` is how the pool learns that nobody is there any more. */
  put(side: ContainerSide, target: Target, lease: Pick<Lease, "owner" | "whenGone">): void;
  /** It closed. */
  forget(side: ContainerSide): void;
  /** How many it keeps. */
  size(): number;
  close(): void;
};

/** More of one container than this are not worth keeping: so many exchanges at once are rare. */
const MOST_OF_ONE = 256;

/** Those of one container at one address; empty while all of them are in use, dropped once none is left. `gone`: the container is not there any more. */
export type Shelf = { readonly key: string; readonly sides: ContainerSide[]; gone: boolean; unwatch(): void };

export function openPool(parts: { ticker: Ticker; idleMs: number }): Pool {
  const { ticker, idleMs } = parts;
  const shelves = new Map<string, Shelf>();
  /** A container's address mostly comes as the same object as before, which is its alone: then there is no key to be made. */
  const known = new WeakMap<Target, Shelf>();

  /** An address that another container had may still have its connections: they lead to that one, or nowhere. */
  const keyOf = (target: Target, { owner }: Pick<Lease, "owner">) => `${owner} ${keyOfTarget(target)}`;
  const shelfOf = (target: Target, lease: Pick<Lease, "owner">): Shelf | undefined => known.get(target) ?? shelves.get(keyOf(target, lease));
  const openShelf = (target: Target, lease: Pick<Lease, "owner" | "whenGone">): Shelf => {
    const shelf: Shelf = { key: keyOf(target, lease), sides: [], gone: false, unwatch: () => undefined };
    shelf.unwatch = lease.whenGone(target, () => {
      shelf.gone = true;
      for (const idle of shelf.sides) idle.destroy();
    });
    shelves.set(shelf.key, shelf);
    ticker.add(expiry);
    return shelf;
  };
  const drop = (shelf: Shelf) => {
    if (shelves.get(shelf.key) === shelf) shelves.delete(shelf.key);
    shelf.unwatch();
    if (shelves.size === 0) ticker.delete(expiry);
  };
  const expiry = {
    tick: (now: number) => {
      for (const { sides } of shelves.values()) {
        // The oldest stand in front; each takes itself out as it closes.
        for (const side of sides) if (now - side.idleSince >= idleMs) side.destroy();
      }
    },
  };

  return {
    take: (target, lease) => {
      const shelf = shelfOf(target, lease);
      let side = shelf?.sides.pop();
      while (side !== undefined && !side.link.writable) side = shelf?.sides.pop();
      return side;
    },
    put: (side, target, lease) => {
      // Not one that was dropped: nobody watches its address any more.
      const kept = shelfOf(target, lease);
      const shelf = kept !== undefined && shelves.get(kept.key) === kept ? kept : (shelves.get(keyOf(target, lease)) ?? openShelf(target, lease));
      if (shelf !== kept || side.shelf !== shelf) known.set(target, shelf);
      if (shelf.sides.length >= MOST_OF_ONE) return side.destroy();
      if (shelf.gone) {
        side.destroy();
        if (shelf.sides.length === 0) drop(shelf);
        return;
      }
      side.reader.dropHead();
      side.reused = true;
      side.connectMs = 0;
      side.idleSince = ticker.now;
      side.shelf = shelf;
      shelf.sides.push(side);
    },
    forget: (side) => {
      const { shelf } = side;
      if (shelf === undefined) return;
      side.shelf = undefined;
      const at = shelf.sides.indexOf(side);
      if (at !== -1) shelf.sides.splice(at, 1);
      if (shelf.sides.length === 0) drop(shelf);
    },
    size: () => [...shelves.values()].reduce((sum, { sides }) => sum + sides.length, 0),
    close: () => {
      for (const shelf of shelves.values()) {
        for (const side of shelf.sides) side.destroy();
        drop(shelf);
      }
    },
  };
}
