import type { Clock } from "../../lib/clock.ts";
import type { ContainerView } from "../../gateway/contract.ts";
import type { ContainerToView } from "../store/containers.ts";
import type { Rooms } from "./rooms.ts";
import { viewOf } from "./view-of.ts";

/** A watch that breaks off is mostly there again within a moment; an address that was in use is not given to another pod so soon. */
const GRACE_MS = 5_000;

/**
 * Whether stored addresses may be sent to. Where the orchestrator gives them to others without control's doing (`Driver.watchedAddresses`), they count only
 * while its events arrive, and after a break once a list has shown that they are what they were.
 */
export type WatchedAddresses = {
  current(): boolean;
  connected(): void;
  disconnected(): void;
  /** To be called before the list is requested; what it returns, once every row was held against it. */
  verifying(): () => void;
  close(): void;
};

/** `changed` is called whenever the answer is another one. */
export function openWatchedAddresses(parts: { clock: Pick<Clock, "after">; watched: boolean; changed(): void }): WatchedAddresses {
  const { clock, watched, changed } = parts;
  let current = !watched;
  let isConnected = false;
  let breaks = 0;
  let cancel = () => {};
  return {
    current: () => current,
    connected: () => {
      isConnected = true;
      cancel();
    },
    disconnected: () => {
      if (!watched) return;
      isConnected = false;
      breaks++;
      cancel();
      cancel = clock.after(GRACE_MS, () => {
        if (!current) return;
        current = false;
        changed();
      });
    },
    verifying: () => {
      const then = breaks;
      const begun = isConnected;
      return () => {
        if (current || !begun || then !== breaks) return;
        current = true;
        changed();
      };
    },
    close: () => cancel(),
  };
}

/** A container's view in the gateways' feed now. */
export function viewNow({ watched }: Pick<Rooms, "watched">, container: ContainerToView): ContainerView {
  const view = viewOf(container);
  return view.standing.kind !== "awake" || watched.current() ? view : { ...view, standing: { kind: "coming", step: "check" } };
}

/** Tells gateways anew of all that have an address. */
export function tellAddressed({ store, changes }: Pick<Rooms, "store" | "changes">): void {
  for (const { id, state, address } of store.containers.atWork()) {
    const row = state === "STARTED" && address !== undefined ? store.containers.find(id) : undefined;
    if (row) changes.publish(row);
  }
}
