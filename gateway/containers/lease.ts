import type { Clock } from "../../lib/clock.ts";
import { Fault } from "../../lib/fault.ts";
import type { Metrics } from "../../lib/metrics/open-metrics.ts";
import type { StartTimes } from "../../lib/start-phases.ts";
import type { ContainerResponses } from "../access-record.ts";
import { type ExchangeSide, type ForwardTarget, type IncomingRequest, keyOfTarget, type Lease, type LeaseHolder } from "../decision.ts";
import type { Caller, ContainerAddress, ContainerView, Directory, OpenExchange } from "../contract.ts";
import { ActivityClock } from "./activity-clock.ts";
import { asleepFault, type RequestHold } from "./hold.ts";
import { type ContainerPlaces, notePlaceUser, waitForPlace } from "./places.ts";
import { addLease, type ContainerTally, isRunning, type ListedLease, oldestLeases, type OpenExchanges, removeLease } from "./open-exchanges.ts";
import { createReplicaUses, leastLoaded, OpenLoad, type ReplicaUse, replicaUseAt } from "./replicas.ts";
import { betterView, hasAddress, isElsewhere } from "./suspect-address.ts";

type LeaseRequest = {
  view: ContainerView;
  caller: Caller;
  /** Whose share of the places for waiting requests it takes. Default: the caller's. */
  share?: string | undefined;
  /** An open HTTP request keeps its container in use; a WebSocket or TCP connection does so only while bytes pass. */
  kind: OpenExchange["kind"];
  /** The number of the replica that it is to reach if that one is there. */
  replica?: number | undefined;
  /** It neither wakes its container nor counts as use of it. */
  isProbe: boolean;
  /**
   * When waiting for the container ends, on the clock's monotonic scale. Undefined: the request has just come, and `view` was just found; then it is
   * `holdMs` after the first wait begins.
   */
  until: number | undefined;
  /** Its signal aborts when the client is gone. */
  request: Pick<IncomingRequest, "signal">;
  /** The parent span of a start that it causes. */
  traceparent?: string | undefined;
};

export type ContainerLease = Lease & {
  /** Defined if the exchange had to wait for its container: the durations of the start's phases. */
  woken(): { start: StartTimes | undefined } | undefined;
  /** The exchange has connected after a wait. Only the first exchange of each start is reported. */
  reportConnected(connectMs: number): void;
  /** The container reports in a response that it is busy. */
  reportBusy(seconds: number): void;
  /** The number of the replica that serves the exchange; undefined: the container has no replicas, or none is chosen yet. */
  readonly replica: number | undefined;
  /** The counters of the container's responses. */
  readonly answers: ContainerResponses | undefined;
  /** The container as it is cached now. */
  currentView(): ContainerView;
};

export function isContainerLease(lease: Lease): lease is ContainerLease {
  return lease instanceof OpenLease;
}

export type Leases = { open(request: LeaseRequest): ContainerLease };

type LeaseDeps = {
  directory: Directory;
  hold: RequestHold;
  exchanges: OpenExchanges;
  clock: Clock;
  suspectAddressMs: number;
  holdMs: number;
  answersOf?: (view: ContainerView) => ContainerResponses;
  placeWaits?: Metrics["placeWaits"];
  placeWaitSeconds?: Metrics["placeWaitSeconds"];
};

type LeaseContext = LeaseDeps & {
  /** Starts whose first connect was reported. */
  reportedStarts: WeakSet<StartTimes>;
  activity: ActivityClock;
};

const SHORTEST_WAIT_MS = 100;
/** Interval in which passing bytes are reported as activity; a shutdown timeout counts in minutes. */
const REPORT_EVERY_MS = 1_000;
/** `busyUntil` is reported again only if it changes by this much, and at most once in this time: every response may set it, and control stores it. */
const BUSY_STEP_MS = 1_000;

/** Counts the open exchanges of each container, and reports them to the directory. */
export function createLeases(deps: LeaseDeps): Leases {
  const context: LeaseContext = { ...deps, reportedStarts: new WeakSet(), activity: new ActivityClock(deps.clock) };
  const { exchanges, answersOf } = deps;
  return {
    open: (request) => {
      const tally = exchanges.tally(request.view, answersOf);
      if (request.view.replicas !== undefined && tally.load === undefined) countReplicas(tally, deps.clock.monotonic);
      return new OpenLease(context, request, tally);
    },
  };
}

/** From now on. */
function countReplicas(tally: ContainerTally, monotonic: () => number): void {
  tally.replicas = createReplicaUses();
  tally.load = new OpenLoad(monotonic);
  tally.load.change(tally.size);
}

/** In place of a request that is settled: its release ends its waits. */
const SETTLED = { signal: new AbortController().signal };

/** For waits that would begin after the release. */
const RELEASED = AbortSignal.abort(new Error("The exchange is over"));

class OpenLease implements ContainerLease, ListedLease {
  before: ListedLease | undefined = undefined;
  after: ListedLease | undefined = undefined;
  readonly #context: LeaseContext;
  #request: LeaseRequest;
  readonly #tally: ContainerTally;
  /** Of the directory, when the view was current. Undefined: it may be older. */
  readonly #changes: number | undefined;
  readonly #open: 0 | 1;
  #streams: 0 | 1;
  #released = false;
  readonly #since: number;
  #bytesIn = 0;
  #bytesOut = 0;
  #holder: LeaseHolder | undefined;
  #isSocket = false;
  #until: number | undefined;
  #woken: { start: StartTimes | undefined } | undefined;
  /** Of a container with a limit of requests. */
  #place: { places: ContainerPlaces; user: string } | undefined;
  /** Of a container with replicas: at which it counts. */
  #replica: ReplicaUse | undefined;
  #replicaNumber: number | undefined;
  /** Aborts waits at the release. Created only for a wait. */
  #over: AbortController | undefined;

  constructor(context: LeaseContext, request: LeaseRequest, tally: ContainerTally) {
    this.#context = context;
    this.#request = request;
    this.#tally = tally;
    this.#until = request.until;
    this.#changes = request.until === undefined ? context.directory.changes?.() : undefined;
    this.#open = request.kind === "http" && !request.isProbe ? 1 : 0;
    this.#streams = tally.isRunning ? 1 : 0;
    this.#since = context.activity.read();
    this.#count(this.#open, this.#streams);
    addLease(tally, this);
    tally.load?.change(1);
  }

  get owner(): string {
    return this.#tally.id;
  }

  get ownerNumber(): number {
    return this.#tally.number;
  }

  target(): ForwardTarget | Promise<ForwardTarget> {
    const { places } = this.#tally;
    if (places === undefined || this.#place !== undefined || this.#request.kind === "tcp") return this.#target();
    const user = this.#request.share ?? this.#request.caller.userId;
    notePlaceUser(places, user, this.#context.activity.recent());
    if (!places.slots.tryEnter(user)) return this.#waitForPlace(places, user);
    this.#place = { places, user };
    return this.#target();
  }

  /** As a held request: the container may stop and start meanwhile. */
  async #waitForPlace(places: ContainerPlaces, user: string): Promise<ForwardTarget> {
    const { view } = this.#request;
    const until = (this.#until ??= this.#context.clock.monotonic() + this.#context.holdMs);
    this.#setStreams(0);
    watchPlaces(this.#context, this.#tally);
    try {
      await waitForPlace(this.#context, places, { user, name: view.name, until, signal: this.#waitSignal() });
    } finally {
      unwatchPlaces(this.#tally);
    }
    if (this.#released) places.slots.leave(user);
    else this.#place = { places, user };
    this.#setStreams(isRunning(this.currentView()) ? 1 : 0);
    return this.#target();
  }

  #target(): ForwardTarget | Promise<ForwardTarget> {
    const { view: before, caller, isProbe } = this.#request;
    // The view may have changed since the decision, during the look-up of the caller.
    const isCurrent = this.#isCurrent;
    if (isCurrent && this.#tally.onlyAddress !== undefined) return this.#tally.onlyAddress;
    const view = isCurrent ? before : (this.#context.directory.cached(before.id, caller) ?? before);
    if (view.availability.kind === "awake" && (isProbe || !view.availability.worker)) return this.#pick(view.availability.addresses);
    return isProbe && view.availability.kind !== "portless" ? Promise.reject(asleepFault(view)) : this.#wait(view);
  }

  async replaceTarget(target: ForwardTarget): Promise<ForwardTarget> {
    const { directory } = this.#context;
    const { view, caller, isProbe } = this.#request;
    const refused = keyOfTarget(target);
    const signal = this.#waitSignal();
    signal.throwIfAborted();
    const now = await directory.find(view.id, caller, signal);
    // A wake would start the container for no one.
    signal.throwIfAborted();
    if (now === undefined) throw new Fault("CONTAINER_NOT_FOUND", "The container was removed");
    // A probe requests no check: control finds the problem by itself.
    if (isProbe) throw asleepFault(view);
    if (now.availability.kind === "awake" && now.availability.worker) {
      this.#context.hold.refused(view.id);
      // Control looks whether it still runs.
      directory.wake(view.id, caller, signal).catch(() => undefined);
      return this.#wait(now, refused);
    }
    if (isElsewhere(now, refused)) {
      const owner = this.#replica?.use?.id;
      // Others serve meanwhile, so no wait would tell control of it.
      if (now.replicas !== undefined && hasAddress(now, refused)) directory.wake(owner ?? view.id, caller, signal).catch(() => undefined);
      return this.#wait(now, refused);
    }
    const better = betterView(this.#context, now, target, signal);
    // The container counts as awake, so a wake makes control check it.
    directory.wake(view.id, caller, signal).catch(() => undefined);
    const first = await better;
    // If one chunk of the feed has several changes, `first` is outdated, and waiting for a later one would never end.
    return this.#wait(directory.cached(view.id, caller) ?? first, refused);
  }

  onTargetGone(target: ForwardTarget, act: () => void): () => void {
    const key = keyOfTarget(target);
    const { directory } = this.#context;
    const { view, caller } = this.#request;
    const cached = directory.cached(view.id, caller);
    // Undefined in the cache means unknown; undefined in a change means removed.
    if (cached !== undefined && !hasAddress(cached, key)) act();
    return directory.watch(view.id, (now) => {
      if (now === undefined || !hasAddress(now, key)) act();
    });
  }

  countBytes(n: number, from: ExchangeSide): void {
    if (this.#released) return;
    if (from === "client") this.#bytesIn += n;
    else this.#bytesOut += n;
    if (this.#request.isProbe) return;
    const tally = this.#tally;
    tally.lastActive = this.#context.activity.recent();
    if (Math.abs(tally.lastActive - tally.reportedAt) >= REPORT_EVERY_MS) this.#report();
  }

  get caller(): Caller {
    return this.#request.caller;
  }

  get containerId(): string {
    return this.#request.view.id;
  }

  setHolder(holder: LeaseHolder): void {
    this.#holder = holder;
  }

  settle(): void {
    this.#request = { ...this.#request, request: SETTLED };
    if (this.#released || this.#request.kind !== "websocket") return;
    this.#isSocket = true;
    const reason = stopReasonAt(this.currentView(), this.#replicaNumber);
    watchStop(this.#context.directory, this.#tally);
    if (reason !== undefined) this.onContainerStop(reason);
  }

  onContainerStop(reason: string): void {
    if (this.#isSocket) this.#holder?.onContainerStop?.(reason);
  }

  revoke(fault: Fault): void {
    if (!this.#released) this.#holder?.revoke(fault);
  }

  release(): void {
    if (this.#released) return;
    this.#released = true;
    this.#holder = undefined;
    this.#over?.abort();
    if (this.#place !== undefined) this.#place.places.slots.leave(this.#place.user);
    if (this.#isSocket) unwatchStop(this.#tally);
    removeLease(this.#tally, this);
    this.#tally.load?.change(-1);
    this.#leaveReplica();
    this.#count(-this.#open, -this.#streams);
  }

  get replica(): number | undefined {
    return this.#replicaNumber;
  }

  get answers(): ContainerResponses | undefined {
    return this.#tally.responses;
  }

  woken(): { start: StartTimes | undefined } | undefined {
    return this.#woken;
  }

  currentView(): ContainerView {
    const { view, caller } = this.#request;
    return this.#context.directory.cached(view.id, caller) ?? view;
  }

  describe(): OpenExchange {
    const { kind, caller } = this.#request;
    const state = this.#streams === 0 ? "held" : "streaming";
    return { kind, login: caller.login, since: this.#since, bytesIn: this.#bytesIn, bytesOut: this.#bytesOut, state };
  }

  reportConnected(connectMs: number): void {
    const { reportedStarts, directory } = this.#context;
    const start = this.#woken?.start;
    if (start === undefined || reportedStarts.has(start)) return;
    reportedStarts.add(start);
    directory.reportConnected(this.containerId, connectMs);
  }

  reportBusy(seconds: number): void {
    const tally = this.#tally;
    const now = this.#context.clock.now();
    const until = now + seconds * 1_000;
    if (Math.abs(until - tally.busyUntil) < BUSY_STEP_MS) return;
    tally.busyUntil = until;
    if (!tally.busyReported) reportBusyUntil(this.#context, tally, now);
  }

  /** No view has changed since that of the request was found, which is that of the tally. */
  get #isCurrent(): boolean {
    return this.#changes !== undefined && this.#changes === this.#context.directory.changes?.() && this.#tally.view === this.#request.view;
  }

  /** The next address in turn, other than the one that refused. */
  #pick(addresses: readonly ContainerAddress[], refused?: string): ForwardTarget {
    const [first] = addresses;
    if (first === undefined) throw new Error("A container that is awake has an address");
    const tally = this.#tally;
    if (addresses.length === 1 && tally.replicas === undefined) return first;
    const others = refused === undefined ? addresses : addresses.filter((address) => keyOfTarget(address) !== refused);
    if (tally.replicas === undefined) return others[tally.turn++ % others.length] ?? first;
    const { replica: preferred } = this.#request;
    const limit = preferred === undefined ? Infinity : this.#replicaLimit(addresses.length);
    const target = leastLoaded(tally.replicas, others, { preferred, limit, turn: tally.turn++ }) ?? first;
    this.#enterReplica(replicaUseAt(tally.replicas, target), target);
    return target;
  }

  /** The places of a container are those of its replicas together. Without this limit, one browser's requests would fill all of them at its replica. */
  #replicaLimit(replicas: number): number {
    const { maxConcurrency } = this.currentView();
    return maxConcurrency === undefined || this.#request.kind === "tcp" ? Infinity : Math.ceil(maxConcurrency / replicas);
  }

  /** Its stop waits until no exchange is there. */
  #enterReplica(replica: ReplicaUse, { replica: number }: ContainerAddress): void {
    if (this.#released || this.#replica === replica) return;
    this.#leaveReplica();
    this.#replica = replica;
    this.#replicaNumber = number;
    this.#countReplica(replica, 1);
  }

  #leaveReplica(): void {
    if (this.#replica === undefined) return;
    this.#countReplica(this.#replica, -1);
    this.#replica = undefined;
  }

  #countReplica(replica: ReplicaUse, by: 1 | -1): void {
    replica.open += by;
    const { use } = replica;
    if (use === undefined) return;
    use.streams += by;
    use.open += by * this.#open;
    use.lastActive = this.#context.activity.recent();
    this.#context.directory.reportUse(use, use.streams > 0 || this.#serves(use.id));
  }

  /** No stop of this replica waits for a report. */
  #serves(owner: string): boolean {
    const { availability } = this.currentView();
    return availability.kind === "awake" && availability.addresses.some((address) => address.owner === owner);
  }

  async #wait(view: ContainerView, refused?: string): Promise<ForwardTarget> {
    const { caller, share, traceparent } = this.#request;
    const until = (this.#until ??= this.#context.clock.monotonic() + this.#context.holdMs);
    this.#setStreams(isRunning(view) ? 1 : 0);
    // It may wait for the stop of that replica.
    this.#leaveReplica();
    const from = this.#context.clock.monotonic();
    const waiting = this.#context.hold.wait({ view, caller, share, until, signal: this.#waitSignal(), traceparent });
    const { addresses, held, start } = await waiting.catch((error: unknown) => {
      const ms = this.#context.clock.monotonic() - from;
      // A client that gave up has waited too; what is refused at once has not.
      if (ms >= SHORTEST_WAIT_MS) this.answers?.traffic.waited(ms);
      throw error;
    });
    if (held) this.answers?.traffic.waited(this.#context.clock.monotonic() - from);
    this.#setStreams(1);
    if (held) this.#woken = { start };
    return this.#pick(addresses, refused);
  }

  /** A held request is not a stream: a graceful stop waits for streams, and held requests wait for its end. */
  #setStreams(streams: 0 | 1): void {
    if (this.#released || streams === this.#streams) return;
    this.#count(0, streams - this.#streams);
    this.#streams = streams;
  }

  #waitSignal(): AbortSignal {
    if (this.#released) return RELEASED;
    this.#over ??= new AbortController();
    return AbortSignal.any([this.#request.request.signal, this.#over.signal]);
  }

  #count(open: number, streams: number): void {
    const tally = this.#tally;
    tally.open += open;
    tally.streams += streams;
    if (!this.#request.isProbe) tally.lastActive = this.#context.activity.recent();
    this.#report();
  }

  #report(): void {
    const tally = this.#tally;
    tally.reportedAt = tally.lastActive;
    this.#context.directory.reportUse(tally, tally.isAwake && this.#isCurrent);
  }
}

/** One watch for all WebSockets of a container: there may be ten thousand. */
function watchStop(directory: Directory, tally: ContainerTally): void {
  tally.sockets++;
  tally.unwatchStop ??= directory.watch(tally.id, (view) => {
    if (view !== undefined && view.stopReason === undefined && view.replicas?.stopping === undefined) return;
    // Each may leave the list by that.
    for (const lease of oldestLeases(tally, tally.size)) {
      const reason = stopReasonAt(view, lease.replica);
      if (reason !== undefined) lease.onContainerStop(reason);
    }
  });
}

/** Why what `replica` serves ends. A replica that only left the addresses may come back: its address is checked. */
function stopReasonAt(view: ContainerView | undefined, replica: number | undefined): string | undefined {
  if (view === undefined) return "The container was removed";
  return view.stopReason ?? view.replicas?.stopping?.find((one) => one.replica === replica)?.reason;
}

function unwatchStop(tally: ContainerTally): void {
  if (--tally.sockets > 0) return;
  tally.unwatchStop?.();
  tally.unwatchStop = undefined;
}

/** A new lease applies the limit of its view. Without this watch, those who wait would not use new replicas until another request comes. */
function watchPlaces({ directory, exchanges }: Pick<LeaseDeps, "directory" | "exchanges">, tally: ContainerTally): void {
  tally.placeWaiters++;
  tally.unwatchPlaces ??= directory.watch(tally.id, (view) => {
    if (view !== undefined) exchanges.tally(view);
  });
}

function unwatchPlaces(tally: ContainerTally): void {
  if (--tally.placeWaiters > 0) return;
  tally.unwatchPlaces?.();
  tally.unwatchPlaces = undefined;
}

function reportBusyUntil(deps: Pick<LeaseDeps, "directory" | "clock">, tally: ContainerTally, now: number): void {
  const { directory, clock } = deps;
  const { busyUntil } = tally;
  directory.reportBusy(tally.id, Math.max(0, busyUntil - now) / 1_000);
  tally.busyReported = true;
  clock.after(BUSY_STEP_MS, () => {
    tally.busyReported = false;
    if (tally.busyUntil !== busyUntil) reportBusyUntil(deps, tally, clock.now());
  });
}
