import { HELD_MS, waitForConnect } from "../../lib/connection-probe.ts";
import { BoundedMap } from "../../lib/bounded-map.ts";
import type { Clock } from "../../lib/clock.ts";
import type { ContainerAddress, ContainerView } from "../contract.ts";
import { keyOfTarget } from "../decision.ts";

/** Queue workers, which may listen or not. */
type WorkerPorts = {
  /** It is a queue worker, and none of its addresses is known to accept connections. */
  isUnproven(view: ContainerView): boolean;
  /** Connects to it again and again, and calls `listens` with the first address that accepts a connection. Returns what ends the attempts. */
  probe(view: ContainerView, listens: (address: ContainerAddress) => void): () => void;
  /** It has refused a connection. */
  refused(id: string): void;
};

const RETRY = { firstMs: 100, longestMs: 1_000 };
const MOST = 10_000;

export function createWorkerPorts(clock: Clock): WorkerPorts {
  /** The address that accepted a connection, by container. */
  const listening = new BoundedMap<string, string>(MOST);

  return {
    isUnproven: ({ id, availability }) => {
      if (availability.kind !== "awake" || availability.worker !== true) return false;
      const proven = listening.get(id);
      return !availability.addresses.some((address) => keyOfTarget(address) === proven);
    },
    probe: ({ id, availability }, listens) => {
      const over = new AbortController();
      const addresses = availability.kind === "awake" ? availability.addresses : [];
      const run = async () => {
        const test = { clock, signal: over.signal, heldMs: HELD_MS };
        try {
          const address = await Promise.any(addresses.map((one) => waitForConnect(one, RETRY, test).then(() => one)));
          listening.set(id, keyOfTarget(address));
          listens(address);
        } catch {
          // No request waits for it any more.
        } finally {
          over.abort(new Error("the probe of a queue worker is over"));
        }
      };
      void run();
      return () => over.abort(new Error("no request waits for the queue worker"));
    },
    refused: (id) => void listening.delete(id),
  };
}
