import type { Clock } from "../../lib/clock.ts";
import { Fault } from "../../lib/fault.ts";
import { type IncomingRequest, type Lease, type LeaseHolder, type ExchangeSide, keyOfTarget, type ForwardTarget } from "../decision.ts";
import {
  type ContainerAddress,
  type ContainerView,
  type Directory,
  type OpenExchange,
  type OpenExchangeList,
  type ContainerUse,
  type Caller,
} from "../contract.ts";
import { asleepFault } from "./wake-decision.ts";
import type { Count } from "../../lib/metrics/open-metrics.ts";
import type { HoldResult, RequestHold } from "./hold.ts";
import type { StartTimes } from "../../lib/start-phases.ts";

export type LeaseRequest = {
  view: ContainerView;
  caller: Caller;
  /** An open HTTP request keeps its container in use; a WebSocket only by the bytes that pass. */
  kind: OpenExchange["kind"];
  /** It neither wakes its container nor counts as use of it. */
  isProbe: boolean;
  /** When waiting for the container ends, on the clock's monotonic scale. */
  until: number;
  /** Whose signal it is that the caller is gone. */
  request: Pick<IncomingRequest, "signal">;
  /** What a wake is part of, where that is recorded. */
  traceparent?: string | undefined;
};

export type ContainerLease = Lease & {
  /** Defined once the exchange had to wait for its container: how long each part of that start took. */
  woken(): { start: StartTimes | undefined } | undefined;
  /** It was woken, and has connected: of each start, the first of those who waited tells it. */
  reportConnected(connectMs: number): void;
  /** Its container has said in an answer that it is busy. */
  reportBusy(seconds: number): void;
  /** Where its container's answers are counted. */
  readonly answers: readonly Count[] | undefined;
};

/** What somebody has open at a container. */
export type RevocableLease = LeaseHolder & { readonly caller: Caller; readonly containerId: string };

export type Leases = {
  open(claim: LeaseRequest): ContainerLease;
  /** All that is open at this moment. */
  openLeases(): RevocableLease[];
  /** What is open at a container. */
  openAt(id: string): OpenExchangeList;
};

/** Bytes are reported as activity this often; a shutdown time-out counts in minutes. */
const REPORT_EVERY_MS = 1_000;

type ContainerTally = ContainerUse & {
  reportedAt: number;
  leases: LeaseList<OpenLease>;
  busyUntil: number;
  /** A word on being busy was told a moment ago: the next one waits, and only the newest is told. */
  busyReported: boolean;
  /** Counts up, so that of several addresses each has its turn. */
  turn: number;
  answers: readonly Count[] | undefined;
};

type LeaseDeps = {
  directory: Directory;
  hold: RequestHold;
  clock: Clock;
  doubtMs: number;
  answersOf?: (name: string) => readonly Count[];
  /** Starts that have been told to be reached. */
  reportedStarts: WeakSet<StartTimes>;
};

/** That it is busy is told anew only where that ends this much later, or earlier, than was told, and no sooner than after this: every answer may say it, and control writes it down. */
const BUSY_STEP_MS = 1_000;
/** Of one container's exchanges, so many are told of: whoever asks looks for what holds it, and that is among the oldest. */
const MOST_TOLD = 200;
/** More than this many containers out of use are not kept count of. */
const MOST_TALLIES = 10_000;

/** Counts the exchanges that each container has open, and tells the directory. */
export function createLeases(given: Omit<LeaseDeps, "reportedStarts">): Leases {
  const parts: LeaseDeps = { ...given, reportedStarts: new WeakSet() };
  const tallies = new Map<string, ContainerTally>();
  const tallyOf = ({ id, name }: ContainerView): ContainerTally => {
    const kept = tallies.get(id);
    if (kept !== undefined) return kept;
    if (tallies.size >= MOST_TALLIES) for (const [unused, { leases }] of tallies) if (leases.size === 0) tallies.delete(unused);
    const tally: ContainerTally = {
      id,
      open: 0,
      streams: 0,
      lastActive: 0,
      reportedAt: 0,
      leases: { oldest: undefined, newest: undefined, size: 0 },
      busyUntil: 0,
      busyReported: false,
      turn: 0,
      answers: parts.answersOf?.(name),
    };
    tallies.set(id, tally);
    return tally;
  };
  return {
    open: (claim) => new OpenLease(parts, claim, tallyOf(claim.view)),
    openLeases: () => [...tallies.values()].flatMap(({ leases }) => oldestOf(leases, leases.size)),
    openAt: (id) => {
      const leases = tallies.get(id)?.leases;
      return leases === undefined
        ? { count: 0, open: [] }
        : { count: leases.size, open: oldestOf(leases, MOST_TOLD).map((lease) => lease.describe()) };
    },
  };
}

class OpenLease implements ContainerLease, RevocableLease, LeaseListNode<OpenLease> {
  before: OpenLease | undefined = undefined;
  after: OpenLease | undefined = undefined;
  readonly #parts: LeaseDeps;
  readonly #claim: LeaseRequest;
  readonly #tally: ContainerTally;
  readonly #open: 0 | 1;
  #streams: 0 | 1;
  #released = false;
  readonly #since: number;
  #bytesIn = 0;
  #bytesOut = 0;
  #holder: LeaseHolder | undefined;
  #woken: { start: StartTimes | undefined } | undefined;
  /** Made only where something is waited for: who has been released no longer waits. */
  #over: AbortController | undefined;

  constructor(parts: LeaseDeps, claim: LeaseRequest, tally: ContainerTally) {
    this.#parts = parts;
    this.#claim = claim;
    this.#tally = tally;
    this.#open = claim.kind === "http" && !claim.isProbe ? 1 : 0;
    this.#streams = isAwake(claim.view) ? 1 : 0;
    this.#count(this.#open, this.#streams);
    // Asking the clock twice for every request would be a tenth of what it costs.
    this.#since = claim.isProbe ? parts.clock.now() : tally.lastActive;
    addTo(tally.leases, this);
  }

  get owner(): string {
    return this.#tally.id;
  }

  target(): ForwardTarget | Promise<ForwardTarget> {
    const { view: claimed, caller, isProbe } = this.#claim;
    // What was so when the request was decided on may be over: the caller may have been looked up in between.
    const view = this.#parts.directory.cached(claimed.id, caller) ?? claimed;
    if (view.availability.kind === "awake") return this.#pick(view.availability.addresses);
    return isProbe && view.availability.kind !== "portless" ? Promise.reject(asleepFault(view)) : this.#reach(view);
  }

  async replaceTarget(target: ForwardTarget): Promise<ForwardTarget> {
    const { directory, clock, doubtMs } = this.#parts;
    const { view, caller, isProbe } = this.#claim;
    const refused = keyOfTarget(target);
    const signal = this.#whileWanted();
    const now = await directory.find(view.id, caller, signal);
    if (now === undefined) throw new Fault("CONTAINER_NOT_FOUND", "The container was removed");
    // What control finds out by itself is soon enough.
    if (isProbe) throw asleepFault(view);
    if (isElsewhere(now, refused)) return this.#reach(now, refused);
    const better = betterView(directory, clock, now, refused, doubtMs, signal);
    // It should be awake and is not: asking for it once more makes control look again.
    directory.wake(view.id, caller, signal).catch(() => undefined);
    const first = await better;
    // Of several changes in one chunk it is the first: a wait for the last one, which has come already, would never end.
    return this.#reach(directory.cached(view.id, caller) ?? first, refused);
  }

  onTargetGone(target: ForwardTarget, act: () => void): () => void {
    const dialled = keyOfTarget(target);
    const { directory } = this.#parts;
    const { view, caller } = this.#claim;
    const known = directory.cached(view.id, caller);
    // Not known says nothing; being told of nothing says that it is gone.
    if (known !== undefined && !isAt(known, dialled)) act();
    return directory.watch(view.id, (now) => {
      if (now === undefined || !isAt(now, dialled)) act();
    });
  }

  countBytes(n: number, from: ExchangeSide): void {
    if (this.#released) return;
    if (from === "client") this.#bytesIn += n;
    else this.#bytesOut += n;
    if (this.#claim.isProbe) return;
    const tally = this.#tally;
    tally.lastActive = this.#parts.clock.now();
    if (Math.abs(tally.lastActive - tally.reportedAt) >= REPORT_EVERY_MS) this.#report();
  }

  get caller(): Caller {
    return this.#claim.caller;
  }

  get containerId(): string {
    return this.#claim.view.id;
  }

  setHolder(holder: LeaseHolder): void {
    this.#holder = holder;
  }

  revoke(fault: Fault): void {
    if (!this.#released) this.#holder?.revoke(fault);
  }

  release(): void {
    if (this.#released) return;
    this.#released = true;
    this.#holder = undefined;
    this.#over?.abort();
    removeFrom(this.#tally.leases, this);
    this.#count(-this.#open, -this.#streams);
  }

  get answers(): readonly Count[] | undefined {
    return this.#tally.answers;
  }

  woken(): { start: StartTimes | undefined } | undefined {
    return this.#woken;
  }

  describe(): OpenExchange {
    const { kind, caller } = this.#claim;
    const state = this.#streams === 0 ? "held" : "streaming";
    return { kind, login: caller.login, since: this.#since, bytesIn: this.#bytesIn, bytesOut: this.#bytesOut, state };
  }

  reportConnected(connectMs: number): void {
    const { reportedStarts: told, directory } = this.#parts;
    const start = this.#woken?.start;
    if (start === undefined || told.has(start)) return;
    told.add(start);
    directory.reportConnected(this.#claim.view.id, connectMs);
  }

  reportBusy(seconds: number): void {
    const tally = this.#tally;
    const now = this.#parts.clock.now();
    const until = now + seconds * 1_000;
    if (Math.abs(until - tally.busyUntil) < BUSY_STEP_MS) return;
    tally.busyUntil = until;
    if (!tally.busyReported) reportBusyUntil(this.#parts, tally, now);
  }

  /** Not the one that refused just now, where there is another. */
  #pick(addresses: readonly ContainerAddress[], refused?: string): ForwardTarget {
    const first = addresses[0];
    if (first === undefined) throw new Error("A container that is awake has an address");
    if (addresses.length === 1) return first;
    const others = refused === undefined ? addresses : addresses.filter((address) => keyOfTarget(address) !== refused);
    return others[this.#tally.turn++ % others.length] ?? first;
  }

  async #reach(from: ContainerView, refused?: string): Promise<ForwardTarget> {
    const { caller, until, traceparent } = this.#claim;
    this.#use(isAwake(from) ? 1 : 0);
    const found: HoldResult = await this.#parts.hold.wait({ view: from, caller, until, signal: this.#whileWanted(), traceparent });
    this.#use(1);
    if (found.held) this.#woken = { start: found.start };
    return this.#pick(found.addresses, refused);
  }

  /** What waits for a container does not use it: a stop that waited for those who wait for its end would never end. */
  #use(now: 0 | 1): void {
    if (this.#released || now === this.#streams) return;
    this.#count(0, now - this.#streams);
    this.#streams = now;
  }

  #whileWanted(): AbortSignal {
    this.#over ??= new AbortController();
    return AbortSignal.any([this.#claim.request.signal, this.#over.signal]);
  }

  #count(open: number, streams: number): void {
    const tally = this.#tally;
    tally.open += open;
    tally.streams += streams;
    if (!this.#claim.isProbe) tally.lastActive = this.#parts.clock.now();
    this.#report();
  }

  #report(): void {
    const tally = this.#tally;
    tally.reportedAt = tally.lastActive;
    this.#parts.directory.reportUse(tally);
  }
}

function reportBusyUntil(parts: Pick<LeaseDeps, "directory" | "clock">, tally: ContainerTally, now: number): void {
  const { directory, clock } = parts;
  const told = tally.busyUntil;
  directory.reportBusy(tally.id, Math.max(0, told - now) / 1_000);
  tally.busyReported = true;
  clock.after(BUSY_STEP_MS, () => {
    tally.busyReported = false;
    if (tally.busyUntil !== told) reportBusyUntil(parts, tally, clock.now());
  });
}

/** It may be sent to at once. */
function isAwake({ availability }: ContainerView): boolean {
  return availability.kind === "awake" || availability.kind === "portless";
}

/** The address is one of the container's, as far as is known now. */
function isAt({ availability }: ContainerView, key: string): boolean {
  return availability.kind === "awake" && availability.addresses.some((address) => keyOfTarget(address) === key);
}

/** There is something better to do than to try the address that refused: wait for its check, or another address. */
function isElsewhere({ availability }: ContainerView, refused: string): boolean {
  return availability.kind !== "awake" || availability.addresses.some((address) => keyOfTarget(address) !== refused);
}

/**
 * The next view that does not lead to the address that refused alone; mostly the one of a check.
 * Faults: CONTAINER_UNREACHABLE where none comes in time.
 */
function betterView(
  directory: Directory,
  clock: Clock,
  before: ContainerView,
  refused: string,
  ms: number,
  signal: AbortSignal,
): Promise<ContainerView> {
  return new Promise((resolve, reject) => {
    const settle = (act: () => void) => {
      cancel();
      unwatch();
      signal.removeEventListener("abort", onAbort);
      act();
    };
    const onAbort = () => settle(() => reject(signal.reason as Error));
    const cancel = clock.after(ms, () =>
      settle(() => reject(new Fault("CONTAINER_UNREACHABLE", `${before.name} refused the connection at ${refused}`))),
    );
    const unwatch = directory.watch(before.id, (view) => {
      if (view === undefined) settle(() => reject(new Fault("CONTAINER_NOT_FOUND", "The container was removed")));
      else if (isElsewhere(view, refused)) settle(() => resolve(view));
    });
    signal.addEventListener("abort", onAbort, { once: true });
  });
}

/** In the order in which they were opened. Linked through its members: a `Set` would cost every request a sixth of its decision. */
export type LeaseList<Member extends LeaseListNode<Member>> = { oldest: Member | undefined; newest: Member | undefined; size: number };

/** Undefined at either end of its list. */
export type LeaseListNode<Member> = { before: Member | undefined; after: Member | undefined };

export function addTo<Member extends LeaseListNode<Member>>(list: LeaseList<Member>, member: Member): void {
  member.before = list.newest;
  if (list.newest === undefined) list.oldest = member;
  else list.newest.after = member;
  list.newest = member;
  list.size++;
}

/** Of one that is in it. */
export function removeFrom<Member extends LeaseListNode<Member>>(list: LeaseList<Member>, member: Member): void {
  const { before, after } = member;
  if (before === undefined) list.oldest = after;
  else before.after = after;
  if (after === undefined) list.newest = before;
  else after.before = before;
  member.before = undefined;
  member.after = undefined;
  list.size--;
}

/** The oldest `most` of them. */
export function oldestOf<Member extends LeaseListNode<Member>>({ oldest }: LeaseList<Member>, most: number): Member[] {
  const found: Member[] = [];
  for (let member = oldest; member !== undefined && found.length < most; member = member.after) found.push(member);
  return found;
}
