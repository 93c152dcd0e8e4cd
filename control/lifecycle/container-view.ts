import type { ContainerView, Availability } from "../../gateway/contract.ts";
import type { Clock } from "../../lib/clock.ts";
import type { FaultData } from "../../lib/fault.ts";
import type { ContainerState } from "../model/states.ts";
import type { ContainerToView } from "../store/containers.ts";
import type { Store } from "../store/open-store.ts";
import type { Changes } from "./changes.ts";

/** An interrupted watch is mostly there again within a moment; an address that was in use is not given to another pod so soon. */
const GRACE_MS = 5_000;

const QUEUED: Availability = { kind: "coming", step: "queue" };
const CHECKED: Availability = { kind: "coming", step: "check" };
const STARTING: Availability = { kind: "coming", step: "start" };
const ASLEEP: Availability = { kind: "asleep" };

/** What a gateway may do with a container in each state. */
const AVAILABILITY: Record<ContainerState, (container: ContainerToView) => Availability> = {
  PENDING_START: () => QUEUED,
  STARTING: () => STARTING,
  STARTED: awake,
  CHECKING: () => CHECKED,
  PENDING_USER_STOP: stopped,
  PENDING_SYSTEM_STOP: stopped,
  STOPPING: stopped,
  USER_STOPPED: stopped,
  SYSTEM_STOPPED: stopped,
  ERROR: failed,
};

export function viewOf(container: ContainerToView): ContainerView {
  const { id, name, phases } = container;
  return { id, name, availability: AVAILABILITY[container.state](container), ...(phases ? { start: phases } : {}) };
}

function awake({ address }: ContainerToView): Availability {
  return address ? { kind: "awake", addresses: [{ host: address.host, port: address.port }] } : { kind: "portless" };
}

/** Stopped or about to be: a request wakes it where it is on-demand, even after a user's stop, or where it was stopped for idleness. */
function stopped(container: ContainerToView): Availability {
  if (container.desiredInstances === 1) return QUEUED;
  if (container.config.onDemand || container.stopFor === "system") return ASLEEP;
  const fault: FaultData = { code: "CONTAINER_STOPPED", message: `The container ${container.name} is not running; a user has to start it.` };
  return { kind: "stopped", fault };
}

function failed(container: ContainerToView): Availability {
  const fault = container.fault ?? { code: "INTERNAL", message: `The container ${container.name} failed.` };
  return { kind: "failed", fault, wakeable: container.config.onDemand, retryAt: container.notBefore };
}

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

/** `watched`: as `Driver.watchedAddresses`. `changed` is called whenever `current()` changes. */
export type WatchedAddressesDeps = { clock: Pick<Clock, "after">; watched: boolean; changed(): void };

export function openWatchedAddresses({ clock, watched, changed }: WatchedAddressesDeps): WatchedAddresses {
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
export function currentView(watched: Pick<WatchedAddresses, "current">, container: ContainerToView): ContainerView {
  const view = viewOf(container);
  return view.availability.kind !== "awake" || watched.current() ? view : { ...view, availability: CHECKED };
}

/** Publishes anew all containers that have an address. */
export async function publishAddressed({ store, changes }: PublishAddressedDeps): Promise<void> {
  // In one transaction: no newer change of a container leaves before the one that was read here.
  await store.transaction(async () => {
    for (const { id, state, address } of await store.containers.atWork()) {
      const row = state === "STARTED" && address !== undefined ? await store.containers.find(id) : undefined;
      if (row) changes.publish(row);
    }
  });
}

type PublishAddressedDeps = { store: Pick<Store, "containers" | "transaction">; changes: Pick<Changes, "publish"> };
