import type { Lease } from "../../decision.ts";
import { keyOfTarget, type Target } from "../../directory.ts";
import type { ContainerSide } from "./container-side.ts";
import type { Ticker } from "./ticker.ts";

/** Connections to containers that are in no use at the moment, by address: the one used last is taken first. */
export type Pool = {
  take(target: Target): ContainerSide | undefined;
  /** Keeps a connection for the next exchange with its target; `whenGone` is how the pool learns that nobody is there any more. */
  put(side: ContainerSide, target: Target, whenGone: Lease["whenGone"]): void;
  /** It closed. */
  forget(side: ContainerSide): void;
  close(): void;
};

/** More of one container than this are not worth keeping: so many exchanges at once are rare. */
const MOST_OF_ONE = 256;

type Shelf = { sides: ContainerSide[]; unwatch(): void };

export function openPool(parts: { ticker: Ticker; idleMs: number }): Pool {
  const { ticker, idleMs } = parts;
  const shelves = new Map<string, Shelf>();
  const keys = new WeakMap<ContainerSide, string>();

  const drop = (key: string, shelf: Shelf) => {
    shelves.delete(key);
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
    take: (target) => {
      const key = keyOfTarget(target);
      const shelf = shelves.get(key);
      let side = shelf?.sides.pop();
      while (side !== undefined && !side.link.writable) side = shelf?.sides.pop();
      return side;
    },
    put: (side, target, whenGone) => {
      const key = keyOfTarget(target);
      let shelf = shelves.get(key);
      if (shelf === undefined) {
        const made: Shelf = { sides: [], unwatch: () => undefined };
        made.unwatch = whenGone(target, () => {
          for (const idle of made.sides) idle.destroy();
        });
        shelves.set(key, made);
        ticker.add(expiry);
        shelf = made;
      }
      if (shelf.sides.length >= MOST_OF_ONE) return side.destroy();
      side.reused = true;
      side.connectMs = 0;
      side.idleSince = ticker.now;
      keys.set(side, key);
      shelf.sides.push(side);
    },
    forget: (side) => {
      const key = keys.get(side);
      const shelf = key === undefined ? undefined : shelves.get(key);
      if (key === undefined || shelf === undefined) return;
      const at = shelf.sides.indexOf(side);
      if (at !== -1) shelf.sides.splice(at, 1);
      if (shelf.sides.length === 0) drop(key, shelf);
    },
    close: () => {
      for (const [key, shelf] of shelves) {
        for (const side of shelf.sides) side.destroy();
        drop(key, shelf);
      }
    },
  };
}
