import { Fault, type FaultCode } from "../../lib/fault.ts";
import type { Container, Image } from "../model/entities.ts";
import { isPassing, isPassingImage, type PassingContainerState } from "../model/states.ts";
import type { LifecycleLimits } from "./limits.ts";
import type { ContainerSituation } from "./situation.ts";

type StatusLimit = Pick<LifecycleLimits, "statusMs">;

/** What a container waits for in each passing state. */
const WAITED_FOR: Record<PassingContainerState, readonly [code: FaultCode, what: string]> = {
  PENDING_START: ["START_TIMED_OUT", "its image to be ready"],
  STARTING: ["START_TIMED_OUT", "the container to accept connections"],
  CHECKING: ["START_TIMED_OUT", "its address to be verified"],
  PENDING_USER_STOP: ["STOP_TIMED_OUT", "open requests to end"],
  PENDING_SYSTEM_STOP: ["STOP_TIMED_OUT", "open requests to end"],
  STOPPING: ["STOP_TIMED_OUT", "the engine to stop it"],
};

/** Since when a deadline counts: time in which berth could not act does not count. */
export function enteredOn({ since }: { since: number }, epoch: number): number {
  return Math.max(since, epoch);
}

/** How long a container may stay in its state from now on, in milliseconds; undefined where it may stay for ever. */
export function containerTimeLeft({ row, image, now, epoch }: ContainerSituation, { statusMs }: StatusLimit): number | undefined {
  if (!isPassing(row.state)) return undefined;
  let from = enteredOn(row, epoch);
  if (row.state === "PENDING_START") {
    // All that is left is its turn, which comes: each start before it has a limit. Of a thousand that a restart of the machine ended, most wait for longer than that.
    if (image?.state === "READY") return undefined;
    // Neither back-off nor an image that is being pulled is the container's own delay.
    from = Math.max(from, row.notBefore, image && isPassingImage(image) ? image.since : 0);
  }
  return from + statusMs - now;
}

export function imageTimeLeft(image: Image, { now, epoch }: Pick<ContainerSituation, "now" | "epoch">, { statusMs }: StatusLimit): number {
  return isPassingImage(image) ? enteredOn(image, epoch) + statusMs - now : statusMs;
}

export function timeoutFault({ name, state }: Container, { statusMs }: StatusLimit): Fault {
  const [code, what] = isPassing(state) ? WAITED_FOR[state] : (["INTERNAL", "nothing"] as const);
  return new Fault(code, `The container ${name} waited for ${what} for more than ${Math.round(statusMs / 1000)} s.`);
}
