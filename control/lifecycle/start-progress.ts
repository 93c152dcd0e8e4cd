import type { DriverTimes } from "../../lib/start-phases.ts";

/** The times of a deploy in progress, epoch ms. */
export type DeployTimes = {
  since: number;
  /** The last progress of the pull; bytes. */
  pull?: { since: number; at: number; done: number; total: number };
  /** The orchestrator has done its part: the container runs, or is about to. */
  launchedOn?: number;
};

/** A driver reports the progress of a pull at least every few seconds: without a report for so long, the pull has ended. */
const PULL_SILENCE_MS = 10_000;

/** Whether the image of a start is being pulled. `now` is epoch ms. */
export function isPulling({ pull, launchedOn }: DeployTimes, now: number): boolean {
  if (!pull || launchedOn !== undefined || now - pull.at >= PULL_SILENCE_MS) return false;
  return pull.total === 0 || pull.done < pull.total;
}

/** The phases that a deploy has had so far, in milliseconds; the last one is in progress, or ended at `now` (epoch ms). */
export function phasesSoFar(step: DeployTimes, now: number): Partial<DriverTimes> {
  const { since, pull, launchedOn } = step;
  const span = (from: number, to: number) => Math.max(0, to - from);
  if (isPulling(step, now)) return { pull: span(since, now) };
  const createdFrom = pull?.at ?? since;
  return {
    ...(pull ? { pull: span(since, pull.at) } : {}),
    create: span(createdFrom, launchedOn ?? now),
    ...(launchedOn === undefined ? {} : { boot: span(launchedOn, now) }),
  };
}
