import type { Clock } from "../lib/clock.ts";
import type { Settings } from "../conf/settings.ts";
import type { Driver, DriverName, Host, Registry } from "../drivers/driver.ts";
import { hostsDriver } from "../drivers/hosts.ts";
import { openDriver } from "../drivers/open.ts";
import type { Log } from "../lib/log.ts";
import { ecsHosts } from "./ecs-options.ts";
import { openChosenDriver } from "./open-driver.ts";

/**
 * The driver of who runs containers for both of an installation's hosts: on ECS, where each has its block of settings, one for each behind one face. The
 * other orchestrators that know hosts tell them apart by themselves. Faults: SETTINGS_INVALID.
 */
export async function openDriverOfHosts(
  name: DriverName | "ask",
  settings: Settings,
  registry: Registry | undefined,
  tools: { clock: Clock; log: Log },
): Promise<Driver> {
  const hosts = name === "ecs" ? ecsHosts(settings) : undefined;
  if (!hosts) return openChosenDriver(name, settings, registry, tools);
  const open = (host: Host) =>
    openDriver(
      "ecs",
      { ecs: { ...hosts[host], registry, registryHosts: settings.registry.redirectHosts } },
      { ...tools, log: tools.log.child({ host }) },
    );
  return hostsDriver({ cvm: await open("cvm"), datagrok: await open("datagrok"), apart: hosts.apart });
}
