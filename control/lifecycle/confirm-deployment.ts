import type { Address, Deployment } from "../../drivers/driver.ts";
import { Fault } from "../../lib/fault.ts";
import type { Container } from "../model/entities.ts";
import type { Store } from "../store/open-store.ts";
import { type EndCounts, sameAddress } from "./address-ownership.ts";
import type { ContainerEngine } from "./engine.ts";

export type ConfirmDeps = { store: Pick<Store, "containers" | "transaction">; engine: Pick<ContainerEngine, "observe">; ends: EndCounts };

type ConfirmOptions = {
  /** How many ends were reported before the deploy. */
  ends: number;
  /** The call started it: then it is at its address, and the holder before is not. */
  isNew: boolean;
  signal: AbortSignal;
};

/**
 * The result of a deploy counts only where no end was reported since it began, nor the address given to another container; else the orchestrator is queried
 * once more. Of one that ran already, an address that another container has is taken only where the orchestrator reports that this one is not there. The last
 * look and `move` are one transaction. Returns what `move` does. Faults: CONTAINER_CRASHED where it is not the same any more, ENGINE_FAILED where two are at one address, ENGINE_UNREACHABLE.
 */
export async function confirmDeployment<R>(
  { store, engine, ends: counts }: ConfirmDeps,
  row: Container,
  deployed: Pick<Deployment, "address" | "instance">,
  { ends: before, isNew, signal }: ConfirmOptions,
  move: () => Promise<R>,
): Promise<R> {
  for (let ends = before, checked: string | undefined; ;) {
    const last = await store.transaction(async () => {
      const holder = await otherAt(store, row, deployed.address);
      const isConfirmed = counts.count(row.id) === ends && (holder === undefined || isNew || holder.id === checked);
      return isConfirmed ? { result: await move() } : { holder };
    });
    if ("result" in last) return last.result;
    const { holder } = last;
    ends = counts.count(row.id);
    const observed = await engine.observe(row, signal);
    const isSame = deployed.instance === undefined || observed?.instance === undefined || deployed.instance === observed.instance;
    if (!observed?.running || !isSame || !sameAddress(observed.address, deployed.address))
      throw new Fault("CONTAINER_CRASHED", `The container ${row.name} ended as soon as it had started.`);
    if (holder === undefined || isNew) continue;
    const other = await engine.observe(holder, signal);
    if (other?.running && sameAddress(other.address, deployed.address)) throw sharedAddress(row, holder, deployed.address);
    checked = holder.id;
  }
}

async function otherAt({ containers }: Pick<Store, "containers">, { id }: Container, address: Address | undefined): Promise<Container | undefined> {
  const holder = address && (await containers.atAddress(address));
  return holder?.id === id ? undefined : holder;
}

function sharedAddress(row: Container, holder: Container, address: Address | undefined): Fault {
  const at = `${address?.host} port ${address?.port}`;
  return new Fault(
    "ENGINE_FAILED",
    `The engine reports both ${row.name} and ${holder.name} at ${at}: ${row.name} is sent nothing. Restart one of them.`,
  );
}
