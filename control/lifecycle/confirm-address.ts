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

type Confirming = {
  /** How many ends were known when the orchestrator was asked. */
  ends: number;
  /** The call started it: then it is at its address, and whoever had that before is not. */
  isNew: boolean;
  signal: AbortSignal;
};

/**
 * What a deploy answered counts only where no end was reported since it was asked, nor the address given to another container; else the orchestrator is asked
 * once more. Of one that ran already, an address that another container has is taken only where the orchestrator says that this one is not there. Nothing may be waited
 * for between this and the move. Faults: CONTAINER_CRASHED where it is not the same any more, ENGINE_FAILED where two are at one address, ENGINE_UNREACHABLE.
 */
export async function confirmDeployment(
  rooms: Rooms,
  row: Container,
  said: Pick<Deployment, "address" | "instance">,
  confirming: Confirming,
): Promise<void> {
  const { endCounts } = rooms;
  const { isNew, signal } = confirming;
  for (let { ends } = confirming, asked: string | undefined; ;) {
    const holder = otherAt(rooms, row, said.address);
    if (endCounts.count(row.id) === ends && (holder === undefined || isNew || holder.id === asked)) return;
    ends = endCounts.count(row.id);
    const fact = await observe(rooms, row, signal);
    const isSame = said.instance === undefined || fact?.instance === undefined || said.instance === fact.instance;
    if (!fact?.running || !isSame || !sameAddress(fact.address, said.address))
      throw new Fault("CONTAINER_CRASHED", `The container ${row.name} ended as soon as it had started.`);
    if (holder === undefined || isNew) continue;
    const other = await observe(rooms, holder, signal);
    if (other?.running && sameAddress(other.address, said.address)) throw shared(row, holder, other.address);
    asked = holder.id;
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
    `The engine says that both ${row.name} and ${holder.name} are at ${at}: ${row.name} is sent nothing. Restart one of them.`,
  );
}
