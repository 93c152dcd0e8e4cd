import { Fault } from "../lib/fault.ts";
import { isRefusedHost } from "../lib/forbidden-addresses.ts";
import { type Address, type Driver, type Observed, wrapDriver } from "./driver.ts";
import type { Clock } from "../lib/clock.ts";
import type { Metrics } from "../lib/metrics/open-metrics.ts";

/**
 * Gateways send users' tokens to whatever address a driver tells, and an orchestrator, or who answers in its place, may be wrong or hostile: a link-local
 * address and a cloud's metadata are refused, unless the driver says that its containers may have such. `deploy` faults: also ADDRESS_REFUSED.
 */
export function guardAddresses(driver: Driver): Driver {
  if (driver.linkLocal) return driver;
  const known = <T extends Pick<Observed, "address">>(fact: T): T =>
    fact.address && isRefused(fact.address) ? { ...fact, address: undefined } : fact;
  return wrapDriver(driver, {
    deploy: async (spec, call) => {
      const { onAddress } = call;
      const guarded = onAddress && {
        onAddress: (at: Address, instance: string | undefined, isNew: boolean) => (isRefused(at) ? undefined : onAddress(at, instance, isNew)),
      };
      const deployment = await driver.deploy(spec, { ...call, ...guarded });
      const { address } = deployment;
      if (!address || !isRefused(address)) return deployment;
      // What failed leaves nothing behind.
      await driver.destroy(spec.service, call);
      throw new Fault(
        "ADDRESS_REFUSED",
        `The engine says that ${spec.service} is at ${address.host}, which is a link-local address or a cloud's metadata.`,
      );
    },
    inspect: async (service, call) => {
      const fact = await driver.inspect(service, call);
      return fact && known(fact);
    },
    foreign: async (call) => {
      const foreign = await driver.foreign?.(call);
      if (foreign === undefined) return undefined;
      return {
        ...foreign,
        find: async (service, port, asked) => {
          const found = await foreign.find(service, port, asked);
          return found && known(found);
        },
      };
    },
    list: async (call) => (await driver.list(call)).map(known),
  });
}

function isRefused({ host }: Address): boolean {
  return isRefusedHost(host);
}

/** The same driver, whose calls are counted: the time of each and its outcome. Logs and events are left out: they last as long as their reader. */
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
