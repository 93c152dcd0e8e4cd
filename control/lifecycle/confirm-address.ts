import type { Address, Deployment } from "../../drivers/driver.ts";
import { Fault } from "../../fault.ts";
import type { Container, OwnedAddress } from "../store/entities.ts";
import { observe, sameAddress } from "./keep-container.ts";
import type { Rooms } from "./rooms.ts";

/** As it is kept. */
export function ownedAddress(address: Address | undefined, instance: string | undefined): OwnedAddress | undefined {
  if (address === undefined) return undefined;
  return { host: address.host, port: address.port, ...(instance === undefined ? {} : { instance }) };
}

/**
 * What a deploy answered counts only where no end was reported since it was asked (`asked` ends were known then): else the orchestrator is asked once more.
 * Faults: CONTAINER_CRASHED where it is not the same any more, ENGINE_UNREACHABLE, ENGINE_FAILED.
 */
export async function confirmDeployment(rooms: Rooms, row: Container, deployment: Deployment, asked: number, signal: AbortSignal): Promise<void> {
  for (let known = asked; rooms.endings.count(row.id) !== known;) {
    known = rooms.endings.count(row.id);
    const fact = await observe(rooms, row, signal);
    const isSame = deployment.instance === undefined || fact?.instance === undefined || deployment.instance === fact.instance;
    if (!fact?.running || !isSame || !sameAddress(fact.address, deployment.address))
      throw new Fault("CONTAINER_CRASHED", `The container ${row.name} ended as soon as it had started.`);
  }
}

/**
 * Of a container that runs already: the address that the orchestrator tells may be taken from the container that has it only where that one is not there.
 * Faults: ENGINE_FAILED where it is, since then nobody knows whose it is; ENGINE_UNREACHABLE.
 */
export async function refuseShared(rooms: Rooms, row: Container, address: Address | undefined, signal: AbortSignal): Promise<void> {
  const holder = address && rooms.store.containers.atAddress(address);
  if (address === undefined || holder === undefined || holder.id === row.id) return;
  const fact = await observe(rooms, holder, signal);
  if (!fact?.running || !sameAddress(fact.address, address)) return;
  throw new Fault(
    "ENGINE_FAILED",
    `The engine says that both ${row.name} and ${holder.name} are at ${address.host} port ${address.port}: ${row.name} is sent nothing. Restart one of them.`,
  );
}
