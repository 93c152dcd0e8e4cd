import type { Address, Driver } from "../../../drivers/driver.ts";
import type { Clock } from "../../../lib/clock.ts";
import { withTimeout } from "../../../lib/deadline.ts";
import { Fault } from "../../../lib/fault.ts";
import type { ImportedContainer } from "./read-imported.ts";

/** An instance that runs and can be taken over as it is. */
export type Adoptable = { instance: string; address: Address | undefined; port: number | undefined };

/** How long one may take to accept a connection: it is said to run. */
const REACH_MS = 3_000;

/** What runs at the orchestrator under a container's service name; else why it cannot be taken over. */
export async function findAdoptable(
  rooms: { driver: Driver; clock: Clock },
  { service, config: { port }, name }: ImportedContainer,
  signal: AbortSignal,
): Promise<Adoptable | string> {
  const { driver, clock } = rooms;
  const call = { signal };
  const foreign = await driver.foreign?.(call);
  if (foreign === undefined) return `it cannot be taken over with the driver ${driver.name}`;
  if (service === undefined) return "that server tells no service's name of it";
  const found = await foreign.find(service, port, call);
  if (found === undefined) return `nothing is named ${service} at this orchestrator`;
  if (found.labels !== undefined) return `${service} was made by a berth (store ${found.labels.store}), which may go on managing it`;
  if (!found.running) return `${service} does not run`;
  const { instance, address } = found;
  if (address === undefined) {
    if (port === undefined) return { instance, address, port };
    return `${service} has no address at which berth can reach its port ${port}`;
  }
  const overdue = () => new Fault("CONTAINER_NOT_READY", `${name} accepted no connection at ${address.host} port ${address.port}`);
  try {
    await withTimeout({ clock, ms: REACH_MS, overdue, signal }, (limited) => foreign.reached(address, { signal: limited }));
    return { instance, address, port: port ?? address.port };
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof Fault && error.code === "CONTAINER_NOT_READY")
      return `${service} accepts no connection at ${address.host} port ${address.port}`;
    throw error;
  }
}
