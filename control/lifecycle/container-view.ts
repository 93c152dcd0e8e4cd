import type { Clock } from "../../lib/clock.ts";
import type { ContainerView, Standing } from "../../gateway/contract.ts";
import type { ContainerToView, ContainerToView as Container } from "../store/containers.ts";
import type { Rooms } from "./rooms.ts";
import type { FaultData } from "../../lib/fault.ts";
import type { ContainerState } from "../model/states.ts";

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
export function currentView({ watched }: Pick<Rooms, "watched">, container: ContainerToView): ContainerView {
  const view = viewOf(container);
  return view.standing.kind !== "awake" || watched.current() ? view : { ...view, standing: { kind: "coming", step: "check" } };
}

/** Tells gateways anew of all that have an address. */
export function publishAddressed({ store, changes }: Pick<Rooms, "store" | "changes">): void {
  for (const { id, state, address } of store.containers.atWork()) {
    const row = state === "STARTED" && address !== undefined ? store.containers.find(id) : undefined;
    if (row) changes.publish(row);
  }
}

const COMING: Standing = { kind: "coming", step: "queue" };
const CHECKED: Standing = { kind: "coming", step: "check" };
const STARTING: Standing = { kind: "coming", step: "start" };
const ASLEEP: Standing = { kind: "asleep" };

/** What a gateway may do with a container in each state. */
const STANDINGS: Record<ContainerState, (container: Container) => Standing> = {
  PENDING_START: () => COMING,
  STARTING: () => STARTING,
  STARTED: awake,
  CHECKING: () => CHECKED,
  PENDING_USER_STOP: atRest,
  PENDING_SYSTEM_STOP: atRest,
  STOPPING: atRest,
  USER_STOPPED: atRest,
  SYSTEM_STOPPED: atRest,
  ERROR: failed,
};

export function viewOf(container: Container): ContainerView {
  const { id, name, phases } = container;
  return { id, name, standing: STANDINGS[container.state](container), ...(phases ? { start: phases } : {}) };
}

function awake({ address }: Container): Standing {
  return address ? { kind: "awake", addresses: [{ host: address.host, port: address.port }] } : { kind: "portless" };
}

/** Stopped or about to be: a request wakes it where it is on-demand, even after a user's stop, or where it went to sleep by itself. */
function atRest(container: Container): Standing {
  if (container.desiredInstances === 1) return COMING;
  if (container.config.onDemand || container.stopFor === "system") return ASLEEP;
  const fault: FaultData = { code: "CONTAINER_STOPPED", message: `The container ${container.name} is not running; a user has to start it.` };
  return { kind: "stopped", fault };
}

function failed(container: Container): Standing {
  const fault = container.fault ?? { code: "INTERNAL", message: `The container ${container.name} failed.` };
  return { kind: "failed", fault, wakeable: container.config.onDemand, retryAt: container.notBefore };
}
