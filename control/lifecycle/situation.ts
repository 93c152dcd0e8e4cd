import type { Observed } from "../../drivers/driver.ts";
import type { Clock } from "../../lib/clock.ts";
import { Fault, type FaultCode } from "../../lib/fault.ts";
import type { Container, Image } from "../model/entities.ts";
import { isPassing, isPassingImage, type PassingContainerState } from "../model/states.ts";

/** Everything that a decision about a container is made from, as of one moment. */
export type ContainerSituation = {
  row: Container;
  image: Image | undefined;
  /** What the orchestrator reports: undefined where it has no such service, "unknown" where it was not queried yet. */
  observed: Observed | undefined | "unknown";
  /** Epoch ms. */
  now: number;
  /** Waiting counts from here at the earliest: berth did not run before, or the clock was set. Epoch ms. */
  epoch: number;
  usage: {
    /** HTTP requests in progress, at all gateways. */
    open: number;
    /** A request has reached the container and is in progress. */
    reached: boolean;
    sockets: number;
    /** Every gateway knows the container's newest change, and none has an exchange open. */
    drained: boolean;
    /** As `WorkerActivity`. */
    measuredMsAgo: number | undefined;
    /** Epoch ms, as for `ContainerUsage`. */
    lastActive: number;
    uncertainUntil: number;
  };
  /** An outage of the orchestrator explains a failure at the time at which the row entered its state. */
  outageExplains: boolean;
};

export type ReadSituation = (row: Container, observed: ContainerSituation["observed"]) => Promise<ContainerSituation>;

/** How far the two clocks may drift apart between two reads without the clock having been set; slewing causes far less. */
const JUMP_MS = 1_000;

/**
 * The moment (epoch ms) since which the clock has run evenly: since this call, or since it was last set forward. Waiting counts from there, so that a jump, or a machine
 * that slept, makes nothing time out or stop for idleness at once.
 */
export function createMonotonicEpoch(clock: Pick<Clock, "now" | "monotonic">): () => number {
  let since = clock.now();
  let offset = since - clock.monotonic();
  return () => {
    const now = clock.now();
    const current = now - clock.monotonic();
    if (current - offset > JUMP_MS) since = now;
    // Set back: the same moment, as the clock shows it now.
    if (offset - current > JUMP_MS) since += current - offset;
    offset = current;
    return since;
  };
}

/** Since when a deadline counts: time in which berth could not act does not count. */
export function enteredOn({ since }: { since: number }, epoch: number): number {
  return Math.max(since, epoch);
}

/** `statusMs`: how long a container or image may stay in a passing state. */
type StatusLimit = { statusMs: number };

/** What a container waits for in each passing state. */
const WAITED_FOR: Record<PassingContainerState, readonly [code: FaultCode, what: string]> = {
  PENDING_START: ["START_TIMED_OUT", "its image to be ready"],
  STARTING: ["START_TIMED_OUT", "the container to accept connections"],
  CHECKING: ["START_TIMED_OUT", "its address to be verified"],
  PENDING_USER_STOP: ["STOP_TIMED_OUT", "open requests to end"],
  PENDING_SYSTEM_STOP: ["STOP_TIMED_OUT", "open requests to end"],
  STOPPING: ["STOP_TIMED_OUT", "the engine to stop it"],
};

/**
 * How long a container may stay in its state from now on, in milliseconds; undefined where it may stay for ever, and for a start, whose limit is the deploy's:
 * a pull extends it.
 */
export function containerTimeLeft({ row, image, now, epoch }: ContainerSituation, { statusMs }: StatusLimit): number | undefined {
  if (!isPassing(row.state) || row.state === "STARTING") return undefined;
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
