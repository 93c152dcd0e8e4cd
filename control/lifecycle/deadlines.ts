import { Fault, type FaultCode } from "../../lib/fault.ts";
import type { Container, Image } from "../model/entities.ts";
import { PASSING_CONTAINER_STATES, type ContainerState, PASSING_IMAGE_STATES } from "../model/states.ts";
import type { Rooms } from "./rooms.ts";

type PassingContainerState = (typeof PASSING_CONTAINER_STATES)[number];

/** What a container that stays too long in a passing state has been waiting for. */
const WAITED_FOR: Record<PassingContainerState, readonly [code: FaultCode, what: string]> = {
  PENDING_START: ["START_TIMED_OUT", "its image to be ready"],
  STARTING: ["START_TIMED_OUT", "the container to accept connections"],
  CHECKING: ["START_TIMED_OUT", "its address to be verified"],
  PENDING_USER_STOP: ["STOP_TIMED_OUT", "open requests to end"],
  PENDING_SYSTEM_STOP: ["STOP_TIMED_OUT", "open requests to end"],
  STOPPING: ["STOP_TIMED_OUT", "the engine to stop it"],
};

export function isPassing(state: ContainerState): state is PassingContainerState {
  return (PASSING_CONTAINER_STATES as readonly string[]).includes(state);
}

/** Since when a clock runs: time in which nobody was there to act does not count. */
export function enteredOn(rooms: Pick<Rooms, "openedAt">, row: { since: number }): number {
  return Math.max(row.since, rooms.openedAt);
}

/** How long a row may stay in its state from now on, in milliseconds; undefined where it may stay for ever. */
export function containerTimeLeft(rooms: Rooms, row: Container): number | undefined {
  if (!isPassing(row.state)) return undefined;
  let from = enteredOn(rooms, row);
  if (row.state === "PENDING_START") {
    // Neither back-off nor an image that is being pulled is the container's own delay.
    const image = rooms.store.images.find(row.imageId);
    // All that is left is its turn, which comes: each start before it has a limit. Of a thousand that a restart of the machine ended, most wait for longer than that.
    if (image?.state === "READY") return undefined;
    from = Math.max(from, row.notBefore, image && isPassingImage(image) ? image.since : 0);
  }
  return from + rooms.limits.statusMs - rooms.clock.now();
}

export function isPassingImage(image: Image): boolean {
  return (PASSING_IMAGE_STATES as readonly string[]).includes(image.state);
}

export function imageTimeLeft(rooms: Rooms, image: Image): number | undefined {
  return isPassingImage(image) ? enteredOn(rooms, image) + rooms.limits.statusMs - rooms.clock.now() : undefined;
}

export function timeoutFault(rooms: Rooms, row: Container): Fault {
  const [code, what] = isPassing(row.state) ? WAITED_FOR[row.state] : (["INTERNAL", "nothing"] as const);
  return new Fault(code, `The container ${row.name} waited for ${what} for more than ${Math.round(rooms.limits.statusMs / 1000)} s.`);
}
