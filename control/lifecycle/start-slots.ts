import { type Bounds, createFairLane } from "./fair-lane.ts";

/**
 * How many starts have the engine at work at a time. A start has a slot while the engine creates its container, and gives it back when only the container's own boot
 * or a pull is left to wait for.
 */
export type StartSlots = {
  /** Resolves once `item` has a slot, which it may have already. Rejects with the signal's reason. */
  enter(item: string, user: string, signal: AbortSignal): Promise<void>;
  /** Gives the slot back; no fault where it has none. */
  leave(item: string): void;
};

export function createStartSlots(bounds: Bounds): StartSlots {
  const lane = createFairLane(bounds);
  const held = new Map<string, string>();
  const admitted = new Map<string, () => void>();

  const pump = () => {
    for (let next = lane.begin(); next !== undefined; next = lane.begin()) {
      held.set(next.item, next.user);
      admitted.get(next.item)?.();
    }
  };

  return {
    enter: (item, user, signal) =>
      new Promise((resolve, reject) => {
        if (signal.aborted) return reject(signal.reason as Error);
        if (held.has(item)) return resolve();
        const onAbort = () => {
          lane.remove(item);
          admitted.delete(item);
          reject(signal.reason as Error);
        };
        signal.addEventListener("abort", onAbort, { once: true });
        admitted.set(item, () => {
          signal.removeEventListener("abort", onAbort);
          admitted.delete(item);
          resolve();
        });
        lane.put(item, user);
        pump();
      }),
    leave: (item) => {
      const user = held.get(item);
      if (user === undefined) return;
      held.delete(item);
      lane.end(user);
      pump();
    },
  };
}
