import { Fault } from "../../../lib/fault.ts";
import type { Driver, Observed } from "../../driver.ts";
import { isServiceName } from "../../labels.ts";
import { foreignLabels, foreignName } from "./parse-spec.ts";

/**
 * Finds services by the names that callers have: berth's own control sends the name at the orchestrator, a foreign server its own (short) name, which is
 * another one here.
 */
export type ServiceNames = {
  /** The service with this name at the orchestrator, else the one that a foreign server calls so. Faults: REQUEST_INVALID. */
  find(name: string, signal: AbortSignal): Promise<Observed | undefined>;
  /** The name at the orchestrator of a service to destroy, which may not exist. A foreign server's own service comes first. Faults: REQUEST_INVALID. */
  ofDestroyed(name: string, signal: AbortSignal): Promise<string>;
};

type NamesDeps = {
  driver: Pick<Driver, "inspect">;
  environment: string;
  /** Whether a deploy of this service runs now. */
  isDeploying(service: string): boolean;
};

export function createServiceNames({ driver, environment, isDeploying }: NamesDeps): ServiceNames {
  const foreign = async (name: string, signal: AbortSignal): Promise<Observed | undefined> => {
    const full = foreignName(environment, name);
    const observed = full === name ? undefined : await driver.inspect(full, { signal });
    const own = foreignLabels(environment, full);
    return observed?.labels.store === own.store && observed.labels.container === own.container ? observed : undefined;
  };
  return {
    find: async (name, signal) => {
      refuseOddName(name);
      return (isServiceName(name) ? await driver.inspect(name, { signal }) : undefined) ?? foreign(name, signal);
    },
    ofDestroyed: async (name, signal) => {
      refuseOddName(name);
      const full = foreignName(environment, name);
      if (!isServiceName(name) || isDeploying(full) || (await foreign(name, signal))) return full;
      return name;
    },
  };
}

/** A foreign server's names of services: packages, folders, images. */
function refuseOddName(name: string): void {
  if (/^[\w@][\w.@/:-]{0,511}$/.test(name) && !/(^|\/)\.\.?(\/|$)/.test(name)) return;
  throw new Fault("REQUEST_INVALID", `${JSON.stringify(name.slice(0, 100))} cannot be a service's name.`);
}
