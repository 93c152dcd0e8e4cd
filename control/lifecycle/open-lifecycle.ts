import { Fault } from "../../lib/fault.ts";
import type { ContainerView, UseReport } from "../../gateway/contract.ts";
import type { ContainerToView } from "../store/containers.ts";
import { type Metrics, openMetrics } from "../../lib/metrics/open-metrics.ts";
import { type Changes, createChanges } from "./changes.ts";
import { recordLifecycleMetrics, timed } from "./lifecycle-metrics.ts";
import { type Explanation, explainContainer } from "./explain/explain-container.ts";
import { createEndCounts } from "./address-ownership.ts";
import { createInFlightOperations } from "./in-flight-operations.ts";
import { followEvents } from "./follow-events.ts";
import { idleInMs } from "./keep-container.ts";
import { placeOf } from "./lanes.ts";
import { LIFECYCLE_LIMITS, type LifecycleLimits } from "./limits.ts";
import { retryMissingImage, prefetchImage, handlePushedImage, type PushedImage } from "./image-lookups.ts";
import { clearOrphans, findOrphans, type Orphan, orphansAmong, removeOrphan, sweep } from "./sweep.ts";
import { createOutages } from "./outages.ts";
import { reconcileContainer } from "./reconcile-container.ts";
import { reconcileImage } from "./reconcile-image.ts";
import { containerKey, imageKey, type LifecycleDeps, type Rooms, SWEEP } from "./rooms.ts";
import { createStartSlots } from "./fair-lane.ts";
import { createMonotonicEpoch } from "./clock-skew.ts";
import { createUsage } from "./usage.ts";
import { type LifecycleRequests, createLifecycleRequests } from "./desired-state.ts";
import { openWatchedAddresses, publishAddressed, currentView } from "./container-view.ts";
import { openWorkQueue, type WorkQueue } from "./work-queue.ts";

/** Makes what runs be what is wished. Level-triggered: every call, event and timer only says "look at X again". */
export type Lifecycle = LifecycleRequests &
  Pick<Changes, "watch" | "seq" | "settled"> & {
    /** Its view in the gateways' feed now. */
    viewOf(container: ContainerToView): ContainerView;
    /** Adopts what runs, then looks at everything. Returns at once; where the engine is away, it goes on trying. */
    start(): void;
    /** A gateway is there that knows every change up to `seq`; 0: it says by its first report up to which. `was` is its name before it lost us. */
    gatewayJoined(gateway: string, seq: number, was?: string): void;
    /** It serves nothing any more, or may go on serving what it knows for as long as `lostMs`. */
    gatewayLeft(gateway: string, lostMs?: number): void;
    recordUse(report: UseReport): void;
    /** Keys that wait to be looked at, and those that are. */
    depth: WorkQueue["depth"];
    /** Why a container is as it is. Faults: CONTAINER_NOT_FOUND. */
    explain(id: string, signal: AbortSignal): Promise<Explanation>;
    /** An image has come to a registry. */
    imagePushed(pushed: PushedImage): void;
    /** What runs with berth's labels and belongs to nothing here, as of the last sweep. */
    orphans(): Orphan[];
    /** The same, as of now. Faults: ENGINE_UNREACHABLE, ENGINE_FAILED. */
    findOrphans(signal: AbortSignal): Promise<Orphan[]>;
    /**
     * Stops and removes one that a person has judged. Faults: REQUEST_INVALID for a service that is no orphan (any more),
     * ENGINE_UNREACHABLE, ENGINE_FAILED.
     */
    removeOrphan(service: string, signal: AbortSignal): Promise<void>;
    /** Stops working, ends driver calls, writes down the last use. What was under way is taken up by the next start. */
    close(): Promise<void>;
  };

export type LifecycleOptions = Omit<LifecycleDeps, "random"> & {
  limits?: Partial<LifecycleLimits>;
  random?: () => number;
  /** Where it counts; for nobody where it is left out. */
  metrics?: Metrics;
};

export function openLifecycle(options: LifecycleOptions): Lifecycle {
  const { store, clock, log } = options;
  const limits = { ...LIFECYCLE_LIMITS, ...options.limits };
  const random = options.random ?? Math.random;
  const openedAt = createMonotonicEpoch(clock);
  const stop = new AbortController();
  const changes = createChanges(store.containers, Math.floor(openedAt()));
  const usage = createUsage(clock.now);
  const metrics = options.metrics ?? openMetrics();
  let orphans: Orphan[] = [];

  const queue = openWorkQueue({
    work: (key, signal, lane) => {
      const [kind, id = ""] = key.split(":");
      if (kind === "container") return reconcileContainer(rooms, id, signal, lane);
      if (kind === "image") return reconcileImage(rooms, id, signal);
      if (kind === "ahead") return prefetchImage(rooms, id, signal);
      if (kind === "missing") return retryMissingImage(rooms, id, signal);
      return timed(metrics.reconcileSeconds, clock, () => resync(signal));
    },
    place: (key) => placeOf(rooms, key),
    failed: (key, error, retryInMs) => {
      const known = error instanceof Fault;
      log[known ? "warn" : "error"](
        { entity: key, retryInMs, ...(known ? { fault: error.code, reason: error.message } : { err: error }) },
        "looking failed",
      );
    },
    clock,
    lanes: limits.lanes,
    retry: limits.lookRetry,
    random,
  });
  const rooms: Rooms = {
    ...options,
    random,
    limits,
    changes,
    usage,
    flights: createInFlightOperations(),
    slots: createStartSlots(limits.startSlots),
    outages: createOutages(clock, clock.now()),
    endCounts: createEndCounts(),
    watched: openWatchedAddresses({ clock, watched: options.driver.watchedAddresses === true, changed: () => publishAddressed(rooms) }),
    draining: new Set(),
    queue,
    get openedAt() {
      return openedAt();
    },
  };

  const resync = async (signal: AbortSignal) => {
    const verified = rooms.watched.verifying();
    const facts = await sweep(rooms, signal);
    verified();
    const found = clearOrphans(rooms, orphansAmong(rooms, facts));
    const known = new Set(orphans.map(({ observed: fact }) => fact.service));
    for (const { observed: fact, why } of found) {
      if (!known.has(fact.service))
        log.warn({ service: fact.service, labels: fact.labels, why }, "a service belongs to nothing in this store and is left alone");
    }
    orphans = found;
    queue.addAfter(SWEEP, limits.sweepMs);
  };

  const lookAtAll = () => {
    // What rests as it is wished is for the sweep, which asks the engine once for all of them.
    for (const { id } of store.images.unready()) queue.add(imageKey(id));
    for (const { id } of store.containers.atWork()) queue.add(containerKey(id));
    // Which are known to rest until their hours come, if somebody looks.
    for (const id of store.containers.keptWarm()) queue.add(containerKey(id));
    queue.add(SWEEP);
  };

  /** Use that could not be written is written with the next flush. */
  const flush = () => {
    const fresh = usage.takeFresh();
    if (fresh.size === 0) return;
    try {
      store.containers.touch(fresh);
    } catch (error) {
      usage.keepFresh(fresh);
      log.error({ err: error }, "the last use of containers could not be written");
    }
  };
  let cancelFlush = () => {};
  const flushLater = () => {
    cancelFlush = clock.after(limits.flushMs, () => {
      flush();
      flushLater();
    });
  };

  /** A report may be the end of an idle container's use, or what a drain waits for. Of one that runs only the time until it idles is new: the engine is not queried for that. */
  const lookAtStops = (ids: readonly string[]) => {
    // A gateway's connection may end after the store is closed.
    if (stop.signal.aborted) return;
    for (const id of ids) {
      const row = store.containers.find(id);
      const dueInMs = row?.state === "STARTED" && row.desiredInstances === 1 ? idleInMs(rooms, row) : 0;
      if (dueInMs === undefined) continue;
      if (dueInMs > 0) queue.addAfter(containerKey(id), dueInMs);
      else queue.add(containerKey(id));
    }
    for (const id of rooms.draining) queue.add(containerKey(id));
  };

  recordLifecycleMetrics({ store, changes, queue, metrics });
  let events: Promise<void> | undefined;
  const wishes = createLifecycleRequests(rooms);
  return {
    ...wishes,
    watch: changes.watch,
    seq: changes.seq,
    viewOf: (container) => currentView(rooms, container),
    settled: changes.settled,
    start: () => {
      lookAtAll();
      flushLater();
      events ??= followEvents(rooms, stop.signal);
    },
    gatewayJoined: usage.joined,
    gatewayLeft: (gateway, lostMs = 0) => {
      if (lostMs === 0) return lookAtStops(usage.left(gateway));
      usage.lost(gateway, clock.now() + lostMs);
      const cancel = clock.after(lostMs, () => {
        stop.signal.removeEventListener("abort", cancel);
        lookAtStops(usage.left(gateway));
      });
      stop.signal.addEventListener("abort", cancel, { once: true });
    },
    recordUse: (report) => lookAtStops(usage.report(report)),
    depth: queue.depth,
    explain: (id, signal) => explainContainer(rooms, id, signal),
    imagePushed: (pushed) => handlePushedImage(rooms, wishes, pushed),
    orphans: () => orphans,
    findOrphans: (signal) => findOrphans(rooms, signal),
    removeOrphan: (service, signal) => removeOrphan(rooms, service, signal),
    close: async () => {
      // 1. Nothing new. 2. What is under way ends. 3. What is known only here is written.
      cancelFlush();
      rooms.watched.close();
      stop.abort(new Error("the lifecycle is closed"));
      await queue.close();
      await events;
      flush();
    },
  };
}
