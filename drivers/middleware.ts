import type { Clock } from "../lib/clock.ts";
import { Fault } from "../lib/fault.ts";
import type { Metrics } from "../lib/metrics/open-metrics.ts";
import { isRefusedHost } from "../lib/refused-addresses.ts";
import { type Address, type Driver, type DriverName, type Observed, wrapDriver } from "./driver.ts";

/**
 * Refuses link-local addresses and cloud metadata, unless the driver says that its containers may have them. Gateways send users' tokens to the addresses
 * of a driver, and an orchestrator, or a server in its place, may be wrong or hostile. `deploy` faults: also ADDRESS_REFUSED.
 */
export function guardAddresses(driver: Driver): Driver {
  if (driver.linkLocal) return driver;
  const withoutRefused = <T extends Pick<Observed, "addresses">>(observed: T): T =>
    observed.addresses.some(isRefused) ? { ...observed, addresses: observed.addresses.filter((address) => !isRefused(address)) } : observed;
  return wrapDriver(driver, {
    deploy: async (spec, call) => {
      const { onAddresses } = call;
      const guarded = onAddresses && {
        onAddresses: (addresses: Address[], instance: string | undefined, isNew: boolean) => {
          if (!addresses.some(isRefused)) onAddresses(addresses, instance, isNew);
        },
      };
      const deployment = await driver.deploy(spec, { ...call, ...guarded });
      const refused = deployment.addresses.find(isRefused);
      if (refused === undefined) return deployment;
      // A failed deploy leaves nothing behind.
      await driver.destroy(spec.service, { signal: call.signal, owner: spec.labels });
      throw new Fault(
        "ADDRESS_REFUSED",
        `The engine says that ${spec.service} is at ${refused.host}, which is a link-local address or a cloud's metadata.`,
      );
    },
    inspect: async (service, call) => {
      const observed = await driver.inspect(service, call);
      return observed && withoutRefused(observed);
    },
    foreign: async (call) => {
      const foreign = await driver.foreign?.(call);
      if (foreign === undefined) return undefined;
      return {
        ...foreign,
        find: async (service, port, findCall) => {
          const holder = await foreign.find(service, port, findCall);
          return holder && withoutRefused(holder);
        },
      };
    },
    list: async (call) => (await driver.list(call)).map(withoutRefused),
  });
}

function isRefused({ host }: Address): boolean {
  return isRefusedHost(host);
}

/** Measures the time and the outcome of each call. Logs and events are left out: they last as long as their reader. */
export function countCalls(driver: Driver, { metrics, clock }: { metrics: Pick<Metrics, "driverSeconds">; clock: Clock }): Driver {
  return wrapDriver(driver, {}, async (verb, { signal }, next) => {
    const from = clock.monotonic();
    let outcome = "done";
    try {
      return await next();
    } catch (error) {
      outcome = signal.aborted ? "aborted" : error instanceof Fault ? error.code : "INTERNAL";
      throw error;
    } finally {
      metrics.driverSeconds.at(verb, outcome).observe((clock.monotonic() - from) / 1_000);
    }
  });
}

/** Calls `check` before each call, which throws where the call may not be made: this process leads no longer. */
export function checkBeforeCalls(driver: Driver, check: () => void): Driver {
  return wrapDriver(
    driver,
    {
      foreign: async (call) => {
        const foreign = await driver.foreign?.(call);
        return (
          foreign && {
            ...foreign,
            end: async (instance, endCall) => {
              check();
              return foreign.end(instance, endCall);
            },
          }
        );
      },
    },
    async (_verb, _call, next) => {
      check();
      return next();
    },
  );
}

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
