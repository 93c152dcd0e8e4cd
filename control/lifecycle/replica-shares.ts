import type { Container } from "../model/entities.ts";
import type { ReplicaSet, ReplicaSets } from "./replica-sets.ts";

/**
 * The bound of further replicas of all containers. Where not all have what they need, packages take turns: what is free goes one by one to the package that has
 * the fewest.
 */
export type ReplicaShares = {
  /** How many of `missing` further replicas this container may start now. `done` must be called once they are stored as desired, or nothing was. */
  take(row: Container, missing: number): { granted: number; done(): void };
  /** It needs more than it may have. */
  isWaiting(id: string): boolean;
};

type WaitingSet = { packageId: string; at: number };

/** Containers that need more ask again at least so often. */
const LONGEST_WAIT_MS = 10_000;

/** `most`: undefined: any number. `now`: monotonic milliseconds. */
export function createReplicaShares(sets: Pick<ReplicaSets, "all">, most: number | undefined, now: () => number): ReplicaShares {
  const waiting = new Map<string, WaitingSet>();
  let reserved = 0;

  /** Another package that waits has fewer. */
  const isBehind = (packageId: string, held: ReadonlyMap<string, number>) => {
    const own = held.get(packageId) ?? 0;
    return [...waiting.values()].some((one) => one.packageId !== packageId && (held.get(one.packageId) ?? 0) < own);
  };
  const grant = ({ id, packageId }: Container, missing: number, bound: number): number => {
    for (const [other, { at }] of waiting) if (now() - at > LONGEST_WAIT_MS) waiting.delete(other);
    waiting.delete(id);
    const held = heldByPackage(sets.all());
    const free = bound - reserved - [...held.values()].reduce((sum, count) => sum + count, 0);
    const isContended = waiting.size > 0 && free < missing + waiting.size;
    const granted = isContended && isBehind(packageId, held) ? 0 : Math.max(0, Math.min(missing, isContended ? 1 : free, free));
    if (granted < missing) waiting.set(id, { packageId, at: now() });
    return granted;
  };

  return {
    take: (row, missing) => {
      if (most === undefined || missing <= 0) {
        waiting.delete(row.id);
        return { granted: Math.max(0, missing), done: () => undefined };
      }
      const granted = grant(row, missing, most);
      reserved += granted;
      return { granted, done: () => void (reserved -= granted) };
    },
    // One that needs no more does not ask again.
    isWaiting: (id) => now() - (waiting.get(id)?.at ?? -Infinity) <= LONGEST_WAIT_MS,
  };
}

/** Those that are to run. */
function heldByPackage(sets: readonly ReplicaSet[]): Map<string, number> {
  const held = new Map<string, number>();
  for (const { container, others } of sets) {
    const count = [...others.values()].filter((one) => one.desiredInstances === 1).length;
    held.set(container.packageId, (held.get(container.packageId) ?? 0) + count);
  }
  return held;
}
