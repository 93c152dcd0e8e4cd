import type { Container, OwnedAddress } from "../model/entities.ts";
import type { Store } from "../store/open-store.ts";
import { followWake } from "./follow-wake.ts";
import { containerKey, type Rooms } from "./rooms.ts";

/**
 * Takes an address from the container that has it, whatever state that is in; to be called in the transaction that gives it to another. One that runs is checked
 * then: until the orchestrator has reported its address, nothing is sent to it. Returns the container that had it.
 */
export function takeAddress(store: Store, to: string, address: OwnedAddress, at: number): Container | undefined {
  const holder = store.containers.atAddress(address);
  if (holder === undefined || holder.id === to) return undefined;
  if (holder.state !== "STARTED") return store.containers.update(holder.id, { address: undefined });
  const moved = store.containers.move(
    holder.id,
    "STARTED",
    "CHECKING",
    { since: at, address: undefined },
    { at, event: "doubted", byUser: undefined },
  );
  if (moved) followWake(store, { from: "STARTED", moved, event: "doubted", at });
  return moved;
}

type TakenAddressDeps = Pick<Rooms, "changes" | "queue" | "log" | "endCounts">;

/**
 * Publishes a container whose address was taken, before its new owner is published, so that no gateway ever has both. For queries to the orchestrator that began
 * before, it counts as an end.
 */
export function tellTaken({ changes, queue, log, endCounts }: TakenAddressDeps, taken: Container, by: Pick<Container, "id" | "name">): void {
  log.warn({ container: taken.id, name: taken.name, by: by.id, byName: by.name }, "address given to another container");
  endCounts.record(taken.id);
  changes.publish(taken);
  queue.add(containerKey(taken.id));
}

/**
 * The orchestrator has given an address to a container that is being started: from now on it is this container's alone, not only once it answers. Of one that
 * was found to run, in a check, that is decided later.
 */
export function claimAddress(
  rooms: TakenAddressDeps & Pick<Rooms, "store" | "clock">,
  { id, state }: Container,
  address: OwnedAddress,
  isNew: boolean,
): void {
  const { store, clock } = rooms;
  const claimed = store.transaction(() => {
    const row = store.containers.find(id);
    if (row?.state !== state || (state !== "STARTING" && !isNew)) return undefined;
    const taken = takeAddress(store, id, address, clock.now());
    store.containers.update(id, { address });
    return { row, taken };
  });
  if (claimed?.taken) tellTaken(rooms, claimed.taken, claimed.row);
}
