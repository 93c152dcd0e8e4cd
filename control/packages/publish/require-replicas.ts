import type { Driver } from "../../../drivers/driver.ts";
import { Fault } from "../../../lib/fault.ts";
import type { Definition } from "./definitions.ts";

/** Refuses `replicas` where the driver has none, or not so many in a package. Faults: PACKAGE_INVALID. */
export function requireReplicas(definitions: readonly Pick<Definition, "folder" | "container">[], available: Driver["replicas"]): void {
  const replicated = definitions.filter(({ container }) => container.config.replicas !== undefined);
  const [first] = replicated;
  if (first === undefined) return;
  const most = available?.mostInPackage ?? Infinity;
  const sum = replicated.reduce((total, { container }) => total + (container.config.replicas?.max ?? 1), 0);
  if (available && sum <= most) return;
  const path = ["dockerfiles", first.folder, "container.json"].filter((part) => part !== "").join("/");
  if (available)
    throw new Fault(
      "PACKAGE_INVALID",
      `${path}: the containers of this package have up to ${sum} replicas together, and the network of a package has addresses for ${most} on this server. Lower max.`,
    );
  throw new Fault(
    "PACKAGE_INVALID",
    `${path}: replicas is not available, because the driver of this server runs one instance of each container. Remove it.`,
  );
}
