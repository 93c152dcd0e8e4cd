import { Fault } from "../../lib/fault.ts";
import type { Container, Image } from "../model/entities.ts";
import type { Containers } from "../store/containers.ts";
import { PASSING_CONTAINER_STATES } from "../model/states.ts";

/** One change of one container or image, numbered in the order in which changes happened; `removed` is a container's id. */
export type Change = { seq: number } & ({ container: Container } | { removed: string } | { image: Image });

export type Changes = {
  publish(container: Container): void;
  publishRemoved(id: string): void;
  publishImage(image: Image): void;
  /** The number of the newest change. */
  seq(): number;
  /** The number of this container's newest change; where this process made none, what was true when it started. */
  seqOf(id: string): number;
  /** Calls `listener` at once with every change until the returned function is called. */
  watch(listener: (change: Change) => void): () => void;
  /** The container as soon as it neither changes by itself nor is about to. Faults: CONTAINER_NOT_FOUND; the signal's reason. */
  settled(id: string, signal: AbortSignal): Promise<Container>;
};

/** `first` must be larger than any number that an earlier process gave, since gateways outlive control: epoch ms does. */
export function createChanges(containers: Pick<Containers, "find">, first: number): Changes {
  const listeners = new Set<(change: Change) => void>();
  const lastOf = new Map<string, number>();
  let seq = first;

  const tell = (change: Change) => {
    for (const listener of listeners) listener(change);
  };
  const watch: Changes["watch"] = (listener) => {
    listeners.add(listener);
    return () => listeners.delete(listener);
  };

  return {
    publish: (container) => {
      lastOf.set(container.id, ++seq);
      tell({ seq, container });
    },
    publishRemoved: (id) => {
      lastOf.delete(id);
      tell({ seq: ++seq, removed: id });
    },
    publishImage: (image) => tell({ seq: ++seq, image }),
    seq: () => seq,
    seqOf: (id) => lastOf.get(id) ?? first,
    watch,
    settled: (id, signal) =>
      new Promise((resolve, reject) => {
        const finish = (act: () => void) => {
          unwatch();
          signal.removeEventListener("abort", onAbort);
          act();
        };
        const onAbort = () => finish(() => reject(signal.reason as Error));
        const notFound = () => finish(() => reject(new Fault("CONTAINER_NOT_FOUND", `There is no container ${id}.`)));
        const unwatch = watch((change) => {
          if ("removed" in change) {
            if (change.removed === id) notFound();
          } else if ("container" in change && change.container.id === id && isSettled(change.container)) finish(() => resolve(change.container));
        });
        signal.addEventListener("abort", onAbort, { once: true });
        if (signal.aborted) return onAbort();
        const now = containers.find(id);
        if (!now) return notFound();
        if (isSettled(now)) finish(() => resolve(now));
      }),
  };
}

function isSettled({ state, desiredInstances }: Container): boolean {
  if ((PASSING_CONTAINER_STATES as readonly string[]).includes(state)) return false;
  // Stopped while it is wished to run: it is about to start.
  return !(desiredInstances === 1 && (state === "USER_STOPPED" || state === "SYSTEM_STOPPED"));
}
