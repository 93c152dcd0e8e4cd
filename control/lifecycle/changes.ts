import { Fault } from "../../lib/fault.ts";
import type { Container, Image } from "../model/entities.ts";
import { isPassing } from "../model/states.ts";
import type { Store } from "../store/open-store.ts";

/** One change of one container or image, numbered in the order in which changes happened; `removed` is a container's id. */
export type EntityChange = { seq: number } & ({ container: Container } | { removed: string } | { image: Image });

export type Changes = {
  /** Tells all watchers. In a transaction that happens once it is durable, or not at all. So too for the next two. */
  publish(container: Container): void;
  publishRemoved(id: string): void;
  publishImage(image: Image): void;
  /** The number of the newest change. */
  seq(): number;
  /** The number of this container's newest change; without one since this process started, that of its start. */
  seqOf(id: string): number;
  /** Calls `listener` at once with every change until the returned function is called. */
  watch(listener: (change: EntityChange) => void): () => void;
  /** The container as soon as it neither changes by itself nor is about to. Faults: CONTAINER_NOT_FOUND; the signal's reason. */
  settled(id: string, signal: AbortSignal): Promise<Container>;
};

/** `first` must be larger than any number that an earlier process gave, since gateways outlive control: epoch ms does. */
export function createChanges({ containers, afterCommit }: Pick<Store, "containers" | "afterCommit">, first: number): Changes {
  const listeners = new Set<(change: EntityChange) => void>();
  const newestOf = new Map<string, number>();
  let seq = first;

  const notify = (change: EntityChange) => {
    for (const listener of listeners) listener(change);
  };
  const watch: Changes["watch"] = (listener) => {
    listeners.add(listener);
    return () => listeners.delete(listener);
  };

  return {
    publish: (container) =>
      afterCommit(() => {
        newestOf.set(container.id, ++seq);
        notify({ seq, container });
      }),
    publishRemoved: (id) =>
      afterCommit(() => {
        newestOf.delete(id);
        notify({ seq: ++seq, removed: id });
      }),
    publishImage: (image) => afterCommit(() => notify({ seq: ++seq, image })),
    seq: () => seq,
    seqOf: (id) => newestOf.get(id) ?? first,
    watch,
    settled: async (id, signal) => {
      signal.throwIfAborted();
      const { promise, resolve, reject } = Promise.withResolvers<Container>();
      const onAbort = () => reject(signal.reason as Error);
      const notFound = () => reject(new Fault("CONTAINER_NOT_FOUND", `There is no container ${id}.`));
      // Watched before it is read, so that no change falls in between.
      const unwatch = watch((change) => {
        if ("removed" in change) {
          if (change.removed === id) notFound();
        } else if ("container" in change && change.container.id === id && isSettled(change.container)) resolve(change.container);
      });
      signal.addEventListener("abort", onAbort, { once: true });
      const look = async () => {
        const row = await containers.find(id);
        if (!row) notFound();
        else if (isSettled(row)) resolve(row);
      };
      look().catch(reject);
      try {
        return await promise;
      } finally {
        unwatch();
        signal.removeEventListener("abort", onAbort);
      }
    },
  };
}

function isSettled({ state, desiredInstances }: Container): boolean {
  // Stopped while it is desired to run: it is about to start.
  return !isPassing(state) && !(desiredInstances === 1 && (state === "USER_STOPPED" || state === "SYSTEM_STOPPED"));
}
