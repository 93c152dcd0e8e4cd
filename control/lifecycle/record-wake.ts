import type { Container } from "../model/entities.ts";
import { type ContainerEvent, type ContainerState, isStarting } from "../model/states.ts";
import { causeOf } from "../store/history.ts";
import type { Store } from "../store/open-store.ts";

type ContainerMove = { from: ContainerState; moved: Container; event: ContainerEvent; at: number };

/** Keeps the list of a container's starts, in the transaction of each of its moves. */
export async function recordWake({ wakes }: Pick<Store, "wakes">, { from, moved, event, at }: ContainerMove): Promise<void> {
  const wasStarting = isStarting(from);
  const isStartingNow = isStarting(moved.state);
  // A newer definition takes the place of what was about to start: that is another start.
  const isNew = isStartingNow && (!wasStarting || event === "redefined");
  if (wasStarting && (!isStartingNow || isNew)) {
    const phases = event === "answered" ? moved.phases : undefined;
    await wakes.end(moved.id, { endedOn: at, outcome: event, phases, fault: moved.state === "ERROR" ? causeOf(moved.fault) : undefined });
  }
  if (isNew) {
    // A retry that berth makes by itself: no one has waited since the request.
    const requestedAt = from === "ERROR" || moved.requestedOn === 0 ? at : Math.min(at, moved.requestedOn);
    const byPerson = moved.requestedFor === "run" || moved.requestedFor === "request";
    await wakes.begin({ container: moved.id, requestedAt, startReason: moved.requestedFor, byUser: byPerson ? moved.requestedBy : undefined });
  } else if (moved.state === "STARTING") await wakes.begun(moved.id, at);
}
