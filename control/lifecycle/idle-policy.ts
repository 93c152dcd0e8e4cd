import type { Observed } from "../../drivers/driver.ts";
import type { Container } from "../model/entities.ts";
import { nextWarm, warmUntil } from "../model/warm-hours.ts";
import type { LifecycleLimits } from "./limits.ts";
import { type ContainerSituation, enteredOn } from "./situation.ts";

/** The use of a queue worker was measured just now. */
const FRESH_MS = 2_000;
/** The clock may be set meanwhile: warm hours are computed again after this time. */
const LONGEST_WAIT_MS = 3_600_000;

/**
 * How long until a container that runs is stopped for idleness, in milliseconds; undefined: not as things are. An open request is use. A queue worker whose use
 * is unknown is not idle. Time since this
 * process started counts at most, since use before that may not have been written.
 */
export function idleInMs({ row, now, epoch, usage }: ContainerSituation, limits: Pick<LifecycleLimits, "busyMs">): number | undefined {
  const minutes = row.config.shutdownTimeoutMinutes;
  if (minutes === undefined || usage.open > 0) return undefined;
  if (usage.measuredMsAgo === undefined) return undefined;
  const usedOn = Math.max(enteredOn(row, epoch), row.lastActive, usage.lastActive);
  const idleMs = Math.max(Math.max(usedOn + minutes * 60_000, usage.uncertainUntil) - now, busyMs(row, now, limits), warmMs(row, now));
  // A queue worker may have begun to work since it was measured: the next measurement decides.
  return idleMs <= 0 && usage.measuredMsAgo > FRESH_MS ? undefined : idleMs;
}

/** How long a container has reported that it is busy, from now on. After the clock was set back, no longer than the limit. */
export function busyMs({ busyUntil }: Pick<Container, "busyUntil">, now: number, limits: Pick<LifecycleLimits, "busyMs">): number {
  return Math.max(0, Math.min(busyUntil - now, limits.busyMs));
}

/** How long its warm hours keep it running, in milliseconds. */
export function warmMs({ config }: Pick<Container, "config">, now: number): number {
  const until = config.keepWarm && warmUntil(config.keepWarm, now);
  return until === undefined ? 0 : until - now;
}

/**
 * How long until the warm hours of a stopped container begin, in milliseconds; 0: they have. Undefined for one that a user stopped or whose start
 * failed: a user or a request starts it.
 */
export function warmInMs({ config, stopFor }: Container, now: number): number | undefined {
  if (!config.keepWarm || stopFor !== "system") return undefined;
  if (warmMs({ config }, now) > 0) return 0;
  const begin = nextWarm(config.keepWarm, now);
  return begin === undefined ? undefined : Math.min(begin - now, LONGEST_WAIT_MS);
}

/**
 * A stop for idleness, of what is to run at its address: a request that is there, before its gateway received the stop, is use. With a start requested
 * all the same it is being replaced, unless a request made that after the stop.
 */
export function isIdleStop({ state, stopFor, addresses, desiredInstances, runningGeneration, generation }: Container): boolean {
  if (state !== "PENDING_SYSTEM_STOP" || stopFor !== "system" || addresses.length === 0) return false;
  return desiredInstances === 0 || runningGeneration === generation;
}

/** Stopped, and to stay so, with nothing of it paused. Should it run all the same, the sweep finds it. */
export function isStoppedAsDesired({ state, desiredInstances, pausedOn }: Pick<Container, "state" | "desiredInstances" | "pausedOn">): boolean {
  return (state === "USER_STOPPED" || state === "SYSTEM_STOPPED") && desiredInstances === 0 && pausedOn === undefined;
}

/**
 * Whether a stop that begins now, with nothing open, is to pause the container: only one that is stopped for idleness, is well and of the newest definition.
 * A frozen queue worker would still get tasks from its queue. Any other stop is meant to end it; and so is one that ends WebSockets without use, whose clients would not learn that the other side is paused.
 */
export function mayPause(row: Container, { pausedMs }: Pick<LifecycleLimits, "pausedMs">): boolean {
  const { desiredInstances, stopFor, fault, adopted, deployed, runningGeneration, generation } = row;
  const isIdle = desiredInstances === 0 && stopFor === "system" && fault === undefined && adopted === undefined && !deployed?.worker;
  return pausedMs > 0 && isIdle && runningGeneration === generation;
}

/** Whether a paused container may stay so: it holds memory, so not for ever, and only where the next request would resume it as it is. */
export function mayStayPaused(
  { state, pausedOn, generation }: Pick<Container, "state" | "pausedOn" | "generation">,
  observed: Observed | undefined,
  now: number,
  limits: Pick<LifecycleLimits, "pausedMs">,
): boolean {
  if (!observed?.paused || state !== "SYSTEM_STOPPED" || pausedOn === undefined || observed.labels.generation !== generation) return false;
  const pausedMs = now - pausedOn;
  // Less than nothing: the clock was set back, and the time that has passed is unknown.
  return pausedMs >= 0 && pausedMs < limits.pausedMs;
}
