import { Fault } from "../../lib/fault.ts";
import type { Lifecycle } from "./open-lifecycle.ts";

/** A stand without plugin containers. */
export const CONTAINERS_DISABLED = new Fault(
  "CONTAINERS_DISABLED",
  "Containers are disabled on this server: dockerSettings.useGrokSpawner is off. An administrator has to turn it on and restart the server.",
);

/**
 * The lifecycle where the settings disable all container work: what users and requests ask for is refused with `fault`, and nothing is done by itself. Packages
 * are published as ever; their images and containers wait until it is enabled again.
 */
export function disableLifecycle(lifecycle: Lifecycle, fault: Fault): Lifecycle {
  const refuse = () => Promise.reject(fault);
  const availability = { kind: "failed", fault: fault.toJSON(), wakeable: false, retryAt: 0 } as const;
  return {
    ...lifecycle,
    disabled: fault,
    requestStart: refuse,
    requestStop: refuse,
    wake: refuse,
    setBusy: refuse,
    viewOf: ({ id, name }) => ({ id, name, availability }),
    listenerOf: () => undefined,
    start: async () => {},
    explain: async (id, signal) => ({ ...(await lifecycle.explain(id, signal)), why: fault.message, timers: [], awake: [] }),
  };
}
