import type { Call, Driver, Host } from "./driver.ts";
import { mergeEvents } from "./events.ts";
import { refuseForeignOwner } from "./labels.ts";

/**
 * An installation's two hosts as one driver. A container runs on the host of its spec, by default on `cvm`. Calls about a service need no host.
 * `apart`: neither host sees the services of the other, as with two clusters. Hosts that share an orchestrator only differ in how a container starts.
 * A call that needs both hosts fails when one of them fails: an incomplete list would report services as gone.
 */
export function hostsDriver({ cvm, datagrok, apart }: Record<Host, Driver> & { apart: boolean }): Driver {
  const hosts = apart ? [cvm, datagrok] : [cvm];

  /** The host that has the service. If both have it: the one where it runs, else the one where it is paused. */
  const find = async (among: readonly Driver[], service: string, call: Call) => {
    const results = await Promise.allSettled(among.map(async (driver) => ({ driver, observed: await driver.inspect(service, call) })));
    const holders = results.flatMap((one) =>
      one.status === "fulfilled" && one.value.observed ? [{ driver: one.value.driver, observed: one.value.observed }] : [],
    );
    // One host that has it is enough. Only both together can report that there is none.
    if (holders.length === 0) throwFirstRejection(results);
    return holders.find(({ observed }) => observed.running) ?? holders.find(({ observed }) => observed.paused) ?? holders[0];
  };

  return {
    // No `pulls`: the engine that resolves an image need not be the one that runs it.
    name: cvm.name,
    ...(cvm.healthchecks && datagrok.healthchecks ? { healthchecks: true } : {}),
    ...(cvm.replicas && datagrok.replicas ? { replicas: cvm.replicas } : {}),
    ...(cvm.watchedAddresses || datagrok.watchedAddresses ? { watchedAddresses: true } : {}),
    resolve: (image, call) => cvm.resolve(image, call),
    deploy: async (spec, call) => {
      const driver = spec.host === "datagrok" ? datagrok : cvm;
      // A name belongs to one service, so an instance on the other host is replaced, as an older generation is.
      const others = apart ? hosts.filter((one) => one !== driver) : [];
      const before = await find(others, spec.service, call);
      if (before) {
        refuseForeignOwner(before.observed.labels, spec, { where: " on the installation's other host" });
        await before.driver.destroy(spec.service, { signal: call.signal, owner: spec.labels });
      }
      return driver.deploy(spec, call);
    },
    pause: async (service, call) => (await (await find(hosts, service, call))?.driver.pause?.(service, call)) ?? false,
    destroy: async (service, call) => throwFirstRejection(await Promise.allSettled(hosts.map((driver) => driver.destroy(service, call)))),
    inspect: async (service, call) => (await find(hosts, service, call))?.observed,
    list: async (call) => (await Promise.all(hosts.map((driver) => driver.list(call)))).flat(),
    usage: async (service, call) => (await find(hosts, service, call))?.driver.usage?.(service, call),
    listeners: async (service, call) => (await find(hosts, service, call))?.driver.listeners?.(service, call),
    logs: async function* (service, options, call) {
      const holder = await find(hosts, service, call);
      if (holder) yield* holder.driver.logs(service, options, call);
    },
    events: (call) => mergeEvents(hosts, call),
    close: async () => throwFirstRejection(await Promise.allSettled([cvm.close(), datagrok.close()])),
  };
}

function throwFirstRejection(results: readonly PromiseSettledResult<unknown>[]): void {
  for (const result of results) if (result.status === "rejected") throw result.reason as Error;
}
