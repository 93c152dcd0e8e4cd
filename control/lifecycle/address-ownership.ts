import type { Address, Observed } from "../../drivers/driver.ts";
import type { Container, OwnedAddress } from "../model/entities.ts";
import type { Store } from "../store/open-store.ts";
import { recordWake } from "./record-wake.ts";

/** An address as it is stored. */
export function ownedAddress(address: Address | undefined, instance: string | undefined): OwnedAddress | undefined {
  if (address === undefined) return undefined;
  return { host: address.host, port: address.port, ...(instance === undefined ? {} : { instance }) };
}

/** It is the same instance at the same address. What either side does not report is taken to be the same. */
export function isAt({ address, instance }: Pick<Observed, "address" | "instance">, owned: OwnedAddress): boolean {
  return sameAddress(address, owned) && (instance === undefined || owned.instance === undefined || instance === owned.instance);
}

export function sameAddress(one: Observed["address"], other: Observed["address"]): boolean {
  return one?.host === other?.host && one?.port === other?.port;
}

/**
 * Takes an address from the container that has it, whatever state that is in; to be called in the transaction that gives it to another. One that runs is checked
 * then: until the orchestrator has reported its address, nothing is sent to it. Returns the container that had it.
 */
export async function takeAddress(
  store: Pick<Store, "containers" | "wakes">,
  to: string,
  address: OwnedAddress,
  at: number,
): Promise<Container | undefined> {
  const holder = await store.containers.atAddress(address);
  if (holder === undefined || holder.id === to) return undefined;
  if (holder.state !== "STARTED") return store.containers.update(holder.id, { address: undefined });
  const reason = { at, event: "doubted", byUser: undefined } as const;
  const moved = await store.containers.move(holder.id, "STARTED", "CHECKING", { since: at, address: undefined }, reason);
  if (moved) await recordWake(store, { from: "STARTED", moved, event: "doubted", at });
  return moved;
}

/** How many ends of a container's instances were reported since this process began. */
export type EndCounts = {
  record(id: string): void;
  /** A response to a query from before this number changed may describe the time before the end. */
  count(id: string): number;
  forget(id: string): void;
};

export function createEndCounts(): EndCounts {
  const counts = new Map<string, number>();
  return {
    record: (id) => void counts.set(id, (counts.get(id) ?? 0) + 1),
    count: (id) => counts.get(id) ?? 0,
    forget: (id) => void counts.delete(id),
  };
}
