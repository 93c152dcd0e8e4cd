import type { Fault } from "../lib/fault.ts";
import type { Driver, DriverName } from "./driver.ts";

/** In place of a driver where the settings disable all container work. It opens nothing, and every call rejects with this fault. */
export function disabledDriver(name: DriverName, fault: Fault): Driver {
  const refuse = () => Promise.reject(fault);
  return {
    name,
    resolve: refuse,
    deploy: refuse,
    destroy: refuse,
    inspect: refuse,
    list: refuse,
    // eslint-disable-next-line require-yield
    logs: async function* () {
      throw fault;
    },
    events: async function* ({ signal }) {
      if (!signal.aborted) await new Promise((resolve) => signal.addEventListener("abort", resolve, { once: true }));
      yield* [];
    },
    close: async () => {},
  };
}
