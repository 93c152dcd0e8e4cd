import type { Container } from "../model/entities.ts";
import { causeOf } from "../store/history.ts";
import type { Store } from "../store/open-store.ts";
import type { ContainerEvent, ContainerState } from "../model/states.ts";

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
