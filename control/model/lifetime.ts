import type { Container } from "./entities.ts";

/** `1 minute`, `90 minutes`. */
export function minutes(count: number | undefined): string {
  return count === 1 ? "1 minute" : `${count ?? 0} minutes`;
}

/** For how long a container has run, what it is at, and its limit. */
type Running = Pick<Container, "config" | "since" | "runningSince">;

/**
 * How long a container that runs may go on, in milliseconds; 0 or less: it has run for its `max_minutes`. Undefined: it has none. After the clock was set
 * back, a whole lifetime, until `runningSince` is repaired. `now`: epoch ms.
 */
export function lifetimeLeftMs({ config: { maxMinutes }, since, runningSince = since }: Running, now: number): number | undefined {
  if (maxMinutes === undefined) return undefined;
  return Math.min(0, runningSince - now) + maxMinutes * 60_000;
}

/** Whether the stop of a container that is about to stop was decided when it had run for its `max_minutes`. */
export function isExpiredStop(row: Running & Pick<Container, "stopFor">): boolean {
  return row.stopFor === "system" && (lifetimeLeftMs(row, row.since) ?? 1) <= 0;
}

/** Without requests it would not start again by itself: it is not left stopped, but started again. */
export function isAlwaysOn({ onDemand, shutdownTimeoutMinutes }: Pick<Container["config"], "onDemand" | "shutdownTimeoutMinutes">): boolean {
  return !onDemand && shutdownTimeoutMinutes === undefined;
}
