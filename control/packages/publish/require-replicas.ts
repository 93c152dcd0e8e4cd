import type { Driver } from "../../../drivers/driver.ts";
import { Fault } from "../../../lib/fault.ts";
import type { ContainerConfig } from "../../model/entities.ts";

/** `at`: where its author wrote the configuration, for the message. */
export type ReplicatedContainer = { at: string; config: Pick<ContainerConfig, "replicas"> };

/** Where a package's folder has its configuration. */
export function containerJsonOf(folder: string): string {
  return ["dockerfiles", folder, "container.json"].filter((part) => part !== "").join("/");
}

/** Refuses `replicas` where the driver has none, or not so many in a package. `containers`: all of a package. Faults: PACKAGE_INVALID. */
export function requireReplicas(containers: readonly ReplicatedContainer[], available: Driver["replicas"]): void {
  const replicated = containers.filter(({ config }) => config.replicas !== undefined);
  const [first] = replicated;
  if (first === undefined) return;
  const most = available?.mostInPackage ?? Infinity;
  const sum = replicated.reduce((total, { config }) => total + (config.replicas?.max ?? 1), 0);
  if (available && sum <= most) return;
  if (available)
    throw new Fault(
      "PACKAGE_INVALID",
      `${first.at}: the containers of this package have up to ${sum} replicas together, and the network of a package has addresses for ${most} on this server. Lower max.`,
    );
  throw new Fault(
    "PACKAGE_INVALID",
    `${first.at}: replicas is not available, because the driver of this server runs one instance of each container. Remove it.`,
  );
}
