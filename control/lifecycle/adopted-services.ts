import { type Call, type Driver, type Foreign, type Observed, wrapDriver } from "../../drivers/driver.ts";
import { Fault } from "../../lib/fault.ts";
import type { AdoptedInstance } from "../model/entities.ts";
import type { Store } from "../store/open-store.ts";

type AdoptedService = { service: string; container: string; adopted: AdoptedInstance };

/**
 * The driver, for which an adopted instance is a service like any other: found by its name, and only where it is that very instance. It carries no
 * labels, so only the store knows whose it is. A service that took its name since belongs to a foreign owner: it is neither reported nor ended.
 */
export function withAdoptedServices(driver: Driver, { store, environment }: { store: Store; environment: string }): Driver {
  const adoptedOf = async (service: string): Promise<AdoptedService | undefined> => {
    const row = await store.containers.byService(service);
    if (row !== undefined) return row.adopted && { service, container: row.id, adopted: row.adopted };
    const removed = await store.tombstones.adopted(service);
    return removed?.adopted && { service, container: removed.id, adopted: removed.adopted };
  };

  const foreignOf = async (call: Call): Promise<Foreign> => {
    const foreign = await driver.foreign?.(call);
    if (foreign === undefined) throw new Fault("ENGINE_FAILED", `The driver ${driver.name} cannot report services that berth did not create.`);
    return foreign;
  };

  const observe = async ({ service, container, adopted }: AdoptedService, call: Call): Promise<Observed | undefined> => {
    const reported = await (await foreignOf(call)).find(service, adopted.port, call);
    if (reported === undefined || reported.instance !== adopted.instance) return undefined;
    const { running, addresses, exit } = reported;
    const labels = { store: store.id, environment, container, generation: adopted.generation };
    return { service, labels, running, instance: adopted.instance, addresses: adopted.port === undefined ? [] : addresses, exit };
  };

  const { pause } = driver;
  return wrapDriver(driver, {
    // berth cannot create it again, so it does not pause it.
    ...(pause ? { pause: async (service: string, call: Call) => (await adoptedOf(service)) === undefined && pause(service, call) } : {}),
    logs: async function* (service, options, call) {
      const adoptedService = await adoptedOf(service);
      yield* adoptedService === undefined
        ? driver.logs(service, options, call)
        : (await foreignOf(call)).logs(adoptedService.adopted.instance, options, call);
    },
    // Only what already runs: a start is berth's own, under a name of its own.
    deploy: async (spec, call) => {
      const adoptedService = await adoptedOf(spec.service);
      if (adoptedService === undefined) return driver.deploy(spec, call);
      const fact = await observe(adoptedService, call);
      if (!fact?.running) throw new Fault("CONTAINER_CRASHED", `${spec.service}, which was adopted, no longer runs.`);
      const { addresses } = fact;
      if (addresses.length > 0) {
        const foreign = await foreignOf(call);
        await Promise.all(addresses.map((address) => foreign.reached(address, call)));
      }
      return { addresses, instance: fact.instance, phases: { create: 0, boot: 0 } };
    },
    destroy: async (service, call) => {
      const adoptedService = await adoptedOf(service);
      if (adoptedService === undefined) return driver.destroy(service, call);
      await (await foreignOf(call)).end(adoptedService.adopted.instance, call);
    },
    inspect: async (service, call) => {
      const adoptedService = await adoptedOf(service);
      return adoptedService === undefined ? driver.inspect(service, call) : observe(adoptedService, call);
    },
    list: async (call) => {
      const list = await driver.list(call);
      for (const { service, id, adopted } of await store.containers.adopted()) {
        const observed = adopted && (await observe({ service, container: id, adopted }, call));
        if (observed) list.push(observed);
      }
      return list;
    },
  });
}
