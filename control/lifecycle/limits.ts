import { availableParallelism } from "node:os";
import { LONGEST_RETRY_MS } from "../../gateway/contract.ts";
import type { BackoffRange } from "../../lib/backoff.ts";
import type { RoundRobinLimits } from "../../lib/fair-queues.ts";
import type { Lane } from "../model/states.ts";

/** All in milliseconds, unless named otherwise. */
export type LifecycleLimits = {
  /** How long a container or image may stay in a passing state (`containerStatusTimeoutMinutes`); for a start, without the time in which a pull makes progress. */
  statusMs: number;
  /** How long one report of a container may keep it busy. */
  busyMs: number;
  /** How long an idle container stays paused before it is ended; 0: it is ended at once. */
  pausedMs: number;
  /** How long a queue worker, or a container without a port, must have run to count as started. */
  graceMs: number;
  /** How long a stop waits for open exchanges: one that the system decided on, and one that a user waits for. */
  drainMs: number;
  userDrainMs: number;
  /** How long after the begin of this process gateways may still be joining it. Until then no stop counts as drained: what they have open is not known. */
  joinMs: number;
  /** The same of a replica that is not needed any more. */
  replicaDrainMs: number;
  /** How long pull progress may renew the status limit in all. */
  pullCapMs: number;
  /** How often everything is compared with the orchestrator's list, with or without events. */
  sweepMs: number;
  /** How often the last use of containers is stored. */
  flushMs: number;
  /** How long a container that runs may refuse connections before it counts as lost. */
  checkMs: number;
  /** How often refused requests may make a container's address suspect. */
  suspectEveryMs: number;
  /** A queue worker works while it uses more than this share of one core, or of the network. An idle one sends heartbeats. */
  workerCpuShare: number;
  workerBytesPerSecond: number;
  /** For a driver call that only reads. */
  callMs: number;
  /** After a container ran for this long, its earlier failures no longer count. */
  stableMs: number;
  /** A plain container that is lost this often in a row, each time soon after its start, goes to ERROR. */
  lossesInARow: number;
  /** Between starts of one container that fail. */
  startRetry: BackoffRange;
  /** Between reconciliations that fail, for instance because the engine does not answer. */
  lookRetry: BackoffRange;
  /** Between lookups of an image that no registry had. */
  missingRetry: BackoffRange;
  /** How much is worked on at the same time. */
  lanes: Record<Lane, RoundRobinLimits>;
  /** How many starts have the engine create their containers at the same time. */
  startSlots: RoundRobinLimits;
};

export const LIFECYCLE_LIMITS: LifecycleLimits = {
  statusMs: 5 * 60_000,
  busyMs: 4 * 3_600_000,
  pausedMs: 0,
  graceMs: 15_000,
  drainMs: 10_000,
  userDrainMs: 2_000,
  joinMs: 0,
  replicaDrainMs: 60_000,
  pullCapMs: 30 * 60_000,
  sweepMs: 10_000,
  flushMs: 10_000,
  checkMs: 30_000,
  suspectEveryMs: 1_000,
  workerCpuShare: 0.05,
  workerBytesPerSecond: 32_768,
  callMs: 30_000,
  stableMs: 60_000,
  lossesInARow: 5,
  startRetry: { firstMs: 1_000, longestMs: LONGEST_RETRY_MS },
  lookRetry: { firstMs: 250, longestMs: 60_000 },
  missingRetry: { firstMs: 60_000, longestMs: 10 * 60_000 },
  // Most of a start is waiting for the container's own boot, which costs nothing.
  lanes: {
    start: { total: 512, perUser: 128 },
    stop: { total: 64, perUser: 32 },
    look: { total: 64, perUser: 48 },
    image: { total: 16, perUser: 4 },
    sweep: { total: 1, perUser: 1 },
  },
  startSlots: startSlotsFor(availableParallelism()),
};

/**
 * Creating a container is the processors' work: an engine with two of them starts as many a second with 3 at a time as with 64, and answers other calls sooner. One more than
 * there are processors, at least 3 and at most 8, of which one is always free for another user. While several users start containers they have equal shares, so that a single start is
 * not slowed down by all that another user's hundred keep going. The engine is taken to be on a machine like this one.
 */
export function startSlotsFor(processors: number): RoundRobinLimits {
  const total = Math.min(8, Math.max(3, processors + 1));
  return { total, perUser: total - 1, equalShares: true };
}
