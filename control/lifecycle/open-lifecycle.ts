import type { Driver } from "../../drivers/driver.ts";
import type { ContainerView, StartStatus, UseReport } from "../../gateway/contract.ts";
import { retryDelay } from "../../lib/backoff.ts";
import type { Clock } from "../../lib/clock.ts";
import { Fault } from "../../lib/fault.ts";
import { inTurns } from "../../lib/in-turns.ts";
import type { Log } from "../../lib/log.ts";
import { type Metrics, openMetrics } from "../../lib/metrics/open-metrics.ts";
import type { Container, Image } from "../model/entities.ts";
import type { ContainerToView } from "../store/containers.ts";
import type { Store } from "../store/open-store.ts";
import { createEndCounts, createTcpPorts, openWatchedAddresses, type TcpListenerOptions, type TcpPorts } from "./addresses.ts";
import { ANY_CAPACITY, type CapacityLimits } from "./capacity.ts";
import { type Changes, createChanges, currentView, publishAddressed, publishAgain, publishLimited } from "./changes.ts";
import { createSuspectAddress } from "./check-container.ts";
import { createMonotonicEpoch, idleInMs, type ReadSituation } from "./decide.ts";
import { createDependencies } from "./dependencies.ts";
import { createDeploy, environmentOf, type SpecSource } from "./deploy.ts";
import { createLifecycleRequests, type LifecycleRequests } from "./desired-state.ts";
import { createContainerEngine, createInFlightOperations } from "./engine.ts";
import { createOutages } from "./outages.ts";
import { type ContainerExplanation, explainContainer } from "./explain-container.ts";
import type { ImagePolicy } from "./image-policy.ts";
import { LIFECYCLE_LIMITS, type LifecycleLimits } from "./limits.ts";
import { createMoves } from "./moves.ts";
import { clearOrphans, findOrphans, followEvents, type Orphan, orphansAmong, removeOrphan, sweep } from "./observe-engine.ts";
import { reconcileContainer } from "./reconcile-container.ts";
import { createReplicaLoads } from "./replica-loads.ts";
import { createReplicaSets, type ReplicaStatus, replicaStatusOf, servingReplicas, turnsOf, withReplicasBusy } from "./replica-sets.ts";
import { createReplicaShares } from "./replica-shares.ts";
import { adjustReplicas } from "./replicas.ts";
import { handlePushedImage, prefetchImage, type PushedImage, reconcileImage, retryMissingImage } from "./reconcile-image.ts";
import { createStartSlots } from "./start-container.ts";
import { createListenerWatch } from "./listener-watch.ts";
import { createStartSteps, type StartSteps } from "./start-steps.ts";
import { createStartStatus } from "./state-reason.ts";
import { createComponentLogs, recordLifecycleMetrics, timed } from "./telemetry.ts";
import { createUsage, createWorkerActivity, openUseRecord } from "./usage.ts";
import { containerKey, imageKey, openWorkQueue, type PendingStart, placeOf, replicasKey, SWEEP, type WorkQueue } from "./work-queue.ts";

/** Containers of a gateway's report that are looked at in one turn of the event loop, and rows that are read. It may have a hundred thousand. */
const USES_IN_ONE_TURN = 2_000;
const ROWS_IN_ONE_TURN = 100;

/** Brings the observed state to the desired state. Level-triggered: every call, event and timer only requests another look. */
export type Lifecycle = LifecycleRequests &
  Pick<Changes, "watch" | "seq" | "settled"> & {
    /** The container's view in the gateways' feed now. */
    viewOf(container: ContainerToView): ContainerView;
    /** Adopts what runs, then reconciles everything. Does not wait for the engine; while that is away, it retries. */
    start(): Promise<void>;
    /** A gateway has connected that knows every change up to `seq`; 0: its first report says up to which. `was`: its name before it lost the connection. */
    gatewayJoined(gateway: string, seq: number, was?: string): void;
    /** It serves nothing any more, or may go on serving from its cache for as long as `lostMs`. */
    gatewayLeft(gateway: string, lostMs?: number): void;
    recordUse(report: UseReport): Promise<void>;
    /** Open requests, WebSockets and TCP connections of a container, at all gateways. */
    connections(id: string): number;
    /** The settings disable all container work; the reason. */
    disabled: Fault | undefined;
    depth: WorkQueue["depth"];
    listenerOf: TcpPorts["listenerOf"];
    /** Why a container is in its state. Faults: CONTAINER_NOT_FOUND. */
    explain(id: string, signal: AbortSignal): Promise<ContainerExplanation>;
    /** What a start in progress does, for a request that has waited for too long; undefined for a container that does not start. */
    startStatus(id: string, signal: AbortSignal): Promise<StartStatus | undefined>;
    startNote: StartSteps["noteOf"];
    /** Of a container with `replicas`; undefined for every other. */
    replicasOf(id: string): ReplicaStatus | undefined;
    /** The phases of a start in progress so far. */
    startPhases: StartSteps["phasesOf"];
    /** An image has come to a registry. */
    imagePushed(pushed: PushedImage): Promise<void>;
    /** What runs with berth's labels and belongs to no container of this store, as of the last sweep. */
    orphans(): Orphan[];
    /** The same, as of now. Faults: ENGINE_UNREACHABLE, ENGINE_FAILED. */
    findOrphans(signal: AbortSignal): Promise<Orphan[]>;
    /**
     * Stops and removes one that a person has decided on. Faults: REQUEST_INVALID for a service that is no orphan (any more),
     * ENGINE_UNREACHABLE, ENGINE_FAILED.
     */
    removeOrphan(service: string, signal: AbortSignal): Promise<void>;
    /** Stops working, aborts driver calls with `ControlEnds`, stores the last use. The next start continues what was in progress. */
    close(): Promise<void>;
  };

export type LifecycleOptions = SpecSource & {
  store: Store;
  driver: Driver;
  clock: Clock;
  log: Log;
  limits?: Partial<LifecycleLimits>;
  /** Of containers that do not speak HTTP. Default: none. */
  tcp?: TcpListenerOptions | undefined;
  /** It does nothing by itself: for `disableLifecycle`. */
  disabled?: Fault | undefined;
  /** Default: any. */
  capacity?: CapacityLimits | undefined;
  /** Undefined: containers may run any image. */
  imagePolicy?: ImagePolicy | undefined;
  random?: () => number;
  metrics?: Metrics;
};

export async function openLifecycle(options: LifecycleOptions): Promise<Lifecycle> {
  const { store, driver, clock, environment, filesFolder, random = Math.random, metrics = openMetrics() } = options;
  const limits = { ...LIFECYCLE_LIMITS, ...options.limits };
  const logs = createComponentLogs(options.log);
  const { service: log } = logs;
  const logOf = (key: string) => (key.startsWith("container:") ? logs.containers : key === SWEEP ? log : logs.images);
  const epoch = createMonotonicEpoch(clock);
  const stop = new AbortController();
  const usage = createUsage(clock, limits.joinMs);
  const inFlight = createInFlightOperations();
  const slots = createStartSlots(limits.startSlots);
  const outages = createOutages(clock, clock.now());
  const ends = createEndCounts();
  const startSteps = createStartSteps({ now: clock.now, noted: (id) => inBackground(publishAgain({ store, changes }, id)) });
  const draining = new Set<string>();
  const replicas = createReplicaSets((id) => queue.add(replicasKey(id)));
  const loads = createReplicaLoads(clock.monotonic);
  const shares = createReplicaShares(replicas, options.capacity?.replicas, clock.monotonic);
  const withoutPlace = new Set<string>();
  const changes = createChanges(store, Math.floor(epoch()), replicas);
  const watched = openWatchedAddresses({
    clock,
    watched: driver.watchedAddresses === true,
    changed: () => inBackground(publishAddressed({ store, changes })),
  });
  const tcpPorts = createTcpPorts({ options: options.tcp, store, changes, log });
  const background = new Set<Promise<void>>();
  const inBackground = (work: Promise<void>) => {
    const logged = work.catch((err: unknown) => log.error({ err }, "store not read or written")).finally(() => background.delete(logged));
    background.add(logged);
  };
  const engine = createContainerEngine({ driver, clock, limits, storeId: store.id, log });
  const startDelay = (attempts: number) => retryDelay(limits.startRetry, attempts, random);
  const queue = openWorkQueue({
    work: (key, signal, workOptions) => {
      if (options.disabled) return Promise.resolve();
      const [kind, id = ""] = key.split(":");
      if (kind === "container") return reconcileContainer({ ...deps, log: logOf(key) }, id, { signal, ...workOptions });
      if (kind === "replicas") return adjustReplicas({ ...deps, requests, loads, shares, withoutPlace }, id);
      if (kind === "image") return reconcileImage({ ...deps, log: logOf(key) }, id, signal);
      if (kind === "prefetch") return prefetchImage({ ...deps, log: logOf(key) }, id, signal);
      if (kind === "missing") return retryMissingImage({ ...deps, log: logOf(key) }, id, signal);
      return timed(metrics.reconcileSeconds, clock, () => resync(signal));
    },
    place: (key) => placeOf(store, key),
    failed: (key, error, retryInMs) => {
      const isExpected = error instanceof Fault;
      const cause = isExpected ? { fault: error.code, reason: error.message } : { err: error };
      logOf(key)[isExpected ? "warn" : "error"]({ entity: key, retryInMs, ...cause }, "reconciliation failed");
    },
    clock,
    lanes: limits.lanes,
    retry: limits.lookRetry,
    random,
  });
  const moves = createMoves({ store, changes, queue, ends, clock, logs, steps: startSteps });
  const isServedByReplicas = (id: string) => {
    const set = replicas.of(id);
    return set !== undefined && servingReplicas(set.container, set).length > 0;
  };
  const dependencies = createDependencies({ store, now: clock.now, isServedByReplicas, lookAt: (id) => queue.add(containerKey(id)) });
  changes.watch(dependencies.changed);
  const suspect = createSuspectAddress({ moves, outages, clock, limits });
  const activity = createWorkerActivity({ store, engine, usage, clock, limits });
  const replacementTurns = (row: Container) => turnsOf(replicas, row, driver.replicas !== undefined);
  const situationOf: ReadSituation = async (row, observed, image) => ({
    row: withReplicasBusy(row, replicas.of(row.id)),
    image: image?.id === row.imageId ? image : await store.images.find(row.imageId),
    dependencies: row.state === "PENDING_START" ? await dependencies.of(row) : [],
    observed,
    now: clock.now(),
    epoch: epoch(),
    usage: {
      open: usage.open(row.id),
      reached: usage.reached(row.id),
      sockets: usage.sockets(row.id),
      joiningMs: usage.joiningMs(),
      drained: usage.drained(row.id, changes.seqOf(row.id), [...(replicas.of(row.id)?.others.keys() ?? [])]),
      measuredMsAgo: activity.measuredMsAgo(row),
      lastActive: usage.lastActive(row.id),
      uncertainUntil: usage.uncertainUntil(),
    },
    outageExplains: outages.explains(row.since),
    turns: replacementTurns(row),
  });
  const deploy = createDeploy({
    store,
    engine,
    driver,
    watchListeners: createListenerWatch({ engine, clock }),
    claimAddresses: moves.claimAddresses,
    inFlight,
    slots,
    steps: startSteps,
    source: options,
    imagePolicy: options.imagePolicy,
    clock,
    epoch,
    limits,
  });
  const work = { store, engine, moves, suspect, situationOf, dependencies, deploy, queue, inFlight, slots, ends, outages, draining, startDelay };
  const late = { lateStarts: metrics.lateStarts.at(), leaderEpoch: options.leaderEpoch };
  const deps = {
    requestStart: (...request: Parameters<LifecycleRequests["requestStart"]>) => requests.requestStart(...request),
    ...work,
    ...late,
    gateways: usage.gateways,
    replicas,
    turnsOf: replacementTurns,
    capacity: options.capacity ?? ANY_CAPACITY,
    capacityCounts: metrics,
    replicasOf: (id: string) => {
      const set = replicas.of(id);
      const most = shares.isWaiting(id) ? options.capacity?.replicas : undefined;
      const isWithoutPlace = withoutPlace.has(id);
      return set && replicaStatusOf(set, { need: loads.last(id), isSupported: driver.replicas !== undefined, most, isWithoutPlace });
    },
    prepareEnv: options.imagePolicy
      ? undefined
      : (start: PendingStart) => {
          const source = { ...options, injectedEnv: options.prepareEnv?.(start) ?? options.injectedEnv };
          return (row: Container, image: Image) => environmentOf({ source, driver }, row, image);
        },
    isServedByReplicas,
    steps: startSteps,
    changes,
    usage,
    watched,
    tcpPorts,
    driver,
    environment,
    filesFolder,
    imagePolicy: options.imagePolicy,
    clock,
    epoch,
    limits,
    random,
    log,
  };
  const requests = createLifecycleRequests(deps);
  const readStartStatus = createStartStatus(deps);
  const useRecord = openUseRecord({ store, usage, clock, flushMs: limits.flushMs, log });

  let sampling: Promise<void> | undefined;
  const sampleWorkers = async () => {
    try {
      await reconcileUsed(await activity.sample(stop.signal));
    } catch (err) {
      if (!stop.signal.aborted) log.error({ err }, "queue workers not sampled");
    } finally {
      sampling = undefined;
    }
  };
  let orphans: Orphan[] = [];
  const resync = async (signal: AbortSignal) => {
    const verified = watched.verifying();
    const list = await sweep(deps, signal);
    verified();
    const left = await clearOrphans(deps, await orphansAmong(deps, list));
    const logged = new Set(orphans.map(({ observed }) => observed.service));
    for (const { observed, why } of left) {
      if (!logged.has(observed.service)) log.warn({ service: observed.service, labels: observed.labels, why }, "orphan found and left alone");
    }
    orphans = left;
    sampling ??= sampleWorkers();
    queue.addAfter(SWEEP, limits.sweepMs);
  };

  const reconcileAll = async () => {
    const images = await store.images.unready();
    // What is stopped as desired is for the sweep, which queries the engine once for all of them.
    const containers = await store.containers.atWork();
    // Their timers for warm hours begin with a look.
    const keptWarm = await store.containers.keptWarm();
    for (const set of replicas.all()) queue.add(replicasKey(set.container.id));
    for (const { id } of images) queue.add(imageKey(id));
    for (const id of [...containers.map((row) => row.id), ...keptWarm]) queue.add(containerKey(id));
    queue.add(SWEEP);
  };

  /**
   * A report may be the end of an idle container's use, or what a drain waits for. Of one that runs only the time until it is idle is new: the engine is not
   * queried for that.
   */
  const reconcileUsed = async (ids: readonly string[]) => {
    // A feed may end after the store was closed.
    if (stop.signal.aborted) return;
    await inTurns(ids, ROWS_IN_ONE_TURN, async (id) => {
      const row = stop.signal.aborted ? undefined : await store.containers.find(id);
      const idleMs = row?.state === "STARTED" && row.desiredInstances === 1 ? idleInMs(await situationOf(row, "unknown"), limits) : 0;
      if (idleMs === undefined) return;
      if (idleMs > 0) queue.addAfter(containerKey(id), idleMs);
      else queue.add(containerKey(id));
    });
    for (const id of draining) queue.add(containerKey(id));
  };

  const gatewayEnded = async (gateway: string) => {
    await reconcileUsed(await usage.left(gateway));
    if (!stop.signal.aborted) await publishLimited({ store, changes });
  };

  for (const row of await store.containers.replicated()) replicas.record(row);
  await recordLifecycleMetrics({ store, changes, queue, metrics });
  metrics.replicas.look((family) => {
    for (const set of replicas.all()) {
      const status = deps.replicasOf(set.container.id);
      if (status === undefined) continue;
      family.at(set.container.name, "ready").set(status.ready);
      family.at(set.container.name, "wanted").set(status.wanted);
    }
  });
  let events: Promise<void> | undefined;
  return {
    ...requests,
    disabled: undefined,
    watch: changes.watch,
    seq: changes.seq,
    settled: changes.settled,
    viewOf: (container) => currentView(deps, container),
    listenerOf: tcpPorts.listenerOf,
    start: async () => {
      await tcpPorts.assignAll();
      await reconcileAll();
      if (stop.signal.aborted) return;
      // What was observed before may be undone in the store.
      store.watchInterruptions(() => queue.add(SWEEP));
      useRecord.start();
      events ??= followEvents(deps, stop.signal);
    },
    gatewayJoined: (gateway, seq, was) => {
      const before = usage.gateways();
      usage.joined(gateway, seq, was);
      if (usage.gateways() !== before) inBackground(publishLimited({ store, changes }));
    },
    gatewayLeft: (gateway, lostMs = 0) => {
      if (lostMs === 0) return inBackground(gatewayEnded(gateway));
      usage.lost(gateway, clock.now() + lostMs);
      const cancel = clock.after(lostMs, () => {
        stop.signal.removeEventListener("abort", cancel);
        inBackground(gatewayEnded(gateway));
      });
      stop.signal.addEventListener("abort", cancel, { once: true });
    },
    recordUse: async (report) => {
      const withReplicas: string[] = [];
      await inTurns(report.uses, USES_IN_ONE_TURN, ({ id, load }) => {
        if (load === undefined) return;
        loads.add(id, load);
        withReplicas.push(id);
      });
      await reconcileUsed(await usage.report(report));
      // Afterwards: another number of replicas is a change, for whose report a stop would wait too.
      await inTurns(withReplicas, USES_IN_ONE_TURN, (id) => queue.add(replicasKey(id)));
    },
    connections: (id) => usage.open(id) + usage.sockets(id),
    depth: queue.depth,
    explain: (id, signal) => explainContainer(deps, id, signal),
    startStatus: async (id, signal) => {
      const row = await store.containers.find(id);
      return row && readStartStatus(row, signal);
    },
    startNote: startSteps.noteOf,
    replicasOf: deps.replicasOf,
    startPhases: startSteps.phasesOf,
    imagePushed: (pushed) => handlePushedImage(deps, requests.requestValidation, pushed),
    orphans: () => orphans,
    findOrphans: (signal) => findOrphans(deps, signal),
    removeOrphan: (service, signal) => removeOrphan(deps, service, signal),
    close: async () => {
      // 1. Nothing new. 2. What is in progress ends. 3. What only this process knows is stored.
      watched.close();
      stop.abort(new Error("the lifecycle is closed"));
      await queue.close();
      await sampling;
      await events;
      await Promise.all(background);
      await useRecord.close();
    },
  };
}

/** A stand without plugin containers. */
export const CONTAINERS_DISABLED = new Fault(
  "CONTAINERS_DISABLED",
  "Containers are disabled on this server: dockerSettings.useGrokSpawner is off. An administrator has to turn it on and restart the server.",
);

/**
 * The lifecycle where the settings disable all container work: what users and requests ask for is refused with `fault`, and nothing is done by itself. Packages
 * are published as ever; their images and containers wait until it is enabled again.
 */
export function disableLifecycle(lifecycle: Lifecycle, fault: Fault): Lifecycle {
  const refuse = () => Promise.reject(fault);
  const availability = { kind: "failed", fault: fault.toJSON(), wakeable: false, retryAt: 0 } as const;
  return {
    ...lifecycle,
    disabled: fault,
    requestStart: refuse,
    requestRestart: refuse,
    requestStop: refuse,
    wake: refuse,
    setBusy: refuse,
    setWarmUp: refuse,
    viewOf: ({ id, name }) => ({ id, name, availability }),
    listenerOf: () => undefined,
    start: async () => {},
    explain: async (id, signal) => ({ ...(await lifecycle.explain(id, signal)), why: fault.message, timers: [], awake: [] }),
  };
}
