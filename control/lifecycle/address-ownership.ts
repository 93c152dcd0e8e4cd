import type { Container, OwnedAddress } from "../model/entities.ts";
import type { Store } from "../store/open-store.ts";
import { containerKey, type Rooms } from "./rooms.ts";
import { causeOf } from "../store/history.ts";
import type { ContainerEvent, ContainerState } from "../model/states.ts";

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
export function publishTakenAddress(
  { changes, queue, log, endCounts }: TakenAddressDeps,
  taken: Container,
  by: Pick<Container, "id" | "name">,
): void {
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
  if (claimed?.taken) publishTakenAddress(rooms, claimed.taken, claimed.row);
}

/** Who is in one of these is being woken. */
const WAKING: readonly ContainerState[] = ["PENDING_START", "STARTING"];

type Move = { from: ContainerState; moved: Container; event: ContainerEvent; at: number };

/** Keeps the list of a container's starts, in the transaction of each of its moves. */
export function followWake({ wakes }: Pick<Store, "wakes">, { from, moved, event, at }: Move): void {
  const was = WAKING.includes(from);
  const is = WAKING.includes(moved.state);
  // A newer definition takes the place of what was about to start: that is another start.
  const anew = is && (!was || event === "redefined");
  if (was && (!is || anew)) {
    const phases = event === "answered" ? moved.phases : undefined;
    wakes.end(moved.id, { endedOn: at, outcome: event, phases, fault: moved.state === "ERROR" ? causeOf(moved.fault) : undefined });
  }
  if (anew) {
    // Tried again by itself: nobody has waited for it since the wish.
    const askedOn = from === "ERROR" || moved.wishedOn === 0 ? at : Math.min(at, moved.wishedOn);
    const byPerson = moved.wishedFor === "run" || moved.wishedFor === "request";
    wakes.begin({ container: moved.id, askedOn, askedFor: moved.wishedFor, byUser: byPerson ? moved.wishedBy : undefined });
  } else if (moved.state === "STARTING") wakes.begun(moved.id, at);
}

/** How many ends of its instances were reported of each container since this process began. */
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
