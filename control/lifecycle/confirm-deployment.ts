import type { Address, Deployment } from "../../drivers/driver.ts";
import { Fault } from "../../lib/fault.ts";
import type { Container, OwnedAddress } from "../model/entities.ts";
import { observe, sameAddress } from "./keep-container.ts";
import type { Rooms } from "./rooms.ts";

/** As it is kept. */
export function ownedAddress(address: Address | undefined, instance: string | undefined): OwnedAddress | undefined {
  if (address === undefined) return undefined;
  return { host: address.host, port: address.port, ...(instance === undefined ? {} : { instance }) };
}

type Confirming = {
  /** How many ends were reported before the deploy. */
  ends: number;
  /** The call started it: then it is at its address, and the holder before is not. */
  isNew: boolean;
  signal: AbortSignal;
};

/**
 * The result of a deploy counts only where no end was reported since it began, nor the address given to another container; else the orchestrator is queried
 * once more. Of one that ran already, an address that another container has is taken only where the orchestrator reports that this one is not there. Nothing may be waited
 * for between this and the move. Faults: CONTAINER_CRASHED where it is not the same any more, ENGINE_FAILED where two are at one address, ENGINE_UNREACHABLE.
 */
export async function confirmDeployment(
  rooms: Rooms,
  row: Container,
  deployed: Pick<Deployment, "address" | "instance">,
  confirming: Confirming,
): Promise<void> {
  const { endCounts } = rooms;
  const { isNew, signal } = confirming;
  for (let { ends } = confirming, checked: string | undefined; ;) {
    const holder = otherAt(rooms, row, deployed.address);
    if (endCounts.count(row.id) === ends && (holder === undefined || isNew || holder.id === checked)) return;
    ends = endCounts.count(row.id);
    const fact = await observe(rooms, row, signal);
    const isSame = deployed.instance === undefined || fact?.instance === undefined || deployed.instance === fact.instance;
    if (!fact?.running || !isSame || !sameAddress(fact.address, deployed.address))
      throw new Fault("CONTAINER_CRASHED", `The container ${row.name} ended as soon as it had started.`);
    if (holder === undefined || isNew) continue;
    const other = await observe(rooms, holder, signal);
    if (other?.running && sameAddress(other.address, deployed.address)) throw shared(row, holder, other.address);
    checked = holder.id;
  }
}

function otherAt({ store }: Pick<Rooms, "store">, { id }: Container, address: Address | undefined): Container | undefined {
  const holder = address && store.containers.atAddress(address);
  return holder?.id === id ? undefined : holder;
}

function shared(row: Container, holder: Container, address: Address | undefined): Fault {
  const at = `${address?.host} port ${address?.port}`;
  return new Fault(
    "ENGINE_FAILED",
    `The engine reports both ${row.name} and ${holder.name} at ${at}: ${row.name} is sent nothing. Restart one of them.`,
  );
}
