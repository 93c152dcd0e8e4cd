import type { ReportedLoad } from "../../gateway/contract.ts";
import type { ReplicasConfig } from "../model/entities.ts";

/** `average`: requests and WebSockets open over the window. `now`: replicas that would be enough for it. `wanted`: those that are to run. */
export type ReplicaNeed = { average: number; isBurst: boolean; now: number; wanted: number };

/**
 * How many replicas the load of each container needs, in the manner of Knative: the average number of open requests over a stable window, divided by the target of a
 * replica. Where the average over a tenth of the window needs twice as many as there are, that one counts (a burst). The largest number within the window is
 * kept, so that replicas stop only when they were not needed for a whole window.
 */
export type ReplicaLoads = {
  /** A gateway has reported. */
  add(id: string, load: ReportedLoad): void;
  /** `ready`: replicas that serve. `desired`: those that are to. */
  need(id: string, config: ReplicasConfig, counts: { ready: number; desired: number }): ReplicaNeed;
  /** The last result. */
  last(id: string): ReplicaNeed | undefined;
  /** Requests were open within the last window. */
  isUsed(id: string): boolean;
  forget(id: string): void;
};

const BUCKETS = 60;
/** Gateways report every second. */
const SHORTEST_BURST_MS = 2_000;
/** An average that is this part of a replica above a whole number needs no more: it is never exact. */
const SLACK = 0.1;

type Bucket = { index: number; load: number; replicas: number };

type ContainerLoad = {
  windowMs: number;
  since: number;
  burstUntil: number;
  /** A ring, by time. */
  buckets: Bucket[];
  last: ReplicaNeed | undefined;
};

/** `now`: monotonic milliseconds. */
export function createReplicaLoads(now: () => number): ReplicaLoads {
  const loads = new Map<string, ContainerLoad>();
  const open = (windowMs: number): ContainerLoad => ({ windowMs, since: now(), burstUntil: -Infinity, buckets: [], last: undefined });
  const indexAt = ({ windowMs }: ContainerLoad, at: number) => Math.floor((at * BUCKETS) / windowMs);
  const bucketAt = (load: ContainerLoad, at: number): Bucket => {
    const index = indexAt(load, at);
    const place = ((index % BUCKETS) + BUCKETS) % BUCKETS;
    const existing = load.buckets[place];
    if (existing?.index === index) return existing;
    return (load.buckets[place] = { index, load: 0, replicas: 0 });
  };
  const within = (load: ContainerLoad, at: number, ms: number) => {
    const newest = indexAt(load, at);
    const count = Math.ceil((ms * BUCKETS) / load.windowMs);
    return load.buckets.filter((bucket) => bucket !== undefined && bucket.index > newest - count && bucket.index <= newest);
  };
  const averageOver = (load: ContainerLoad, at: number, ms: number) =>
    within(load, at, ms).reduce((sum, bucket) => sum + bucket.load, 0) / Math.min(ms, Math.max(at - load.since, SHORTEST_BURST_MS));

  return {
    add: (id, { average, ms }) => {
      const load = loads.get(id);
      if (load === undefined) return;
      const at = now();
      const bucketMs = load.windowMs / BUCKETS;
      // What was open before is another window's.
      const from = Math.max(at - ms, load.since, at - load.windowMs + bucketMs);
      for (let begin = from; begin < at;) {
        const end = Math.min(at, (indexAt(load, begin) + 1) * bucketMs);
        bucketAt(load, begin).load += average * (end - begin);
        begin = Math.max(end, begin + 1);
      }
    },
    need: (id, { targetConcurrency, windowSeconds }, { ready, desired }) => {
      const at = now();
      const windowMs = windowSeconds * 1_000;
      const before = loads.get(id);
      const isKnown = before !== undefined && before.windowMs === windowMs;
      const load = isKnown ? before : open(windowMs);
      loads.set(id, load);
      const bucket = bucketAt(load, at);
      // What ran before this process, or by another window, is kept for as long as what this one has found itself.
      if (!isKnown) bucket.replicas = desired;
      const burstMs = Math.min(windowMs, Math.max(SHORTEST_BURST_MS, windowMs / 10));
      const replicasFor = (concurrency: number) => Math.max(1, Math.ceil(concurrency / targetConcurrency - SLACK));
      const average = averageOver(load, at, windowMs);
      const short = replicasFor(averageOver(load, at, burstMs));
      if (short >= 2 * Math.max(1, ready)) load.burstUntil = at + windowMs;
      const isBurst = at < load.burstUntil;
      const enough = Math.max(replicasFor(average), isBurst ? short : 1);
      bucket.replicas = Math.max(bucket.replicas, enough);
      const wanted = Math.max(...within(load, at, windowMs).map(({ replicas }) => replicas));
      return (load.last = { average, isBurst, now: enough, wanted });
    },
    last: (id) => loads.get(id)?.last,
    isUsed: (id) => {
      const load = loads.get(id);
      return load !== undefined && within(load, now(), load.windowMs).some((bucket) => bucket.load > 0);
    },
    forget: (id) => void loads.delete(id),
  };
}
