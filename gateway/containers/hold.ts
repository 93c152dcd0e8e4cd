import type { Clock } from "../../lib/clock.ts";
import { backoffDelay, scattered } from "../../lib/backoff.ts";
import { withTimeout } from "../../lib/deadline.ts";
import { Fault, type FaultCode } from "../../lib/fault.ts";
import { type ContainerAddress, type ContainerView, type Directory, type Caller, LONGEST_RETRY_MS, type StartStatus } from "../contract.ts";
import type { Metrics } from "../../lib/metrics/open-metrics.ts";
import type { StartTimes } from "../../lib/start-phases.ts";
import { createWorkerPorts } from "./worker-ports.ts";

type HoldResult = {
  /** Of the container; never empty. */
  addresses: readonly ContainerAddress[];
  /** The request had to wait for the container. */
  held: boolean;
  start?: StartTimes | undefined;
};

type HoldRequest = {
  view: ContainerView;
  caller: Caller;
  /** Whose share of the places it takes. Default: the caller's. */
  share?: string | undefined;
  /** When waiting ends, on the clock's monotonic scale. */
  until: number;
  signal: AbortSignal;
  /** The parent span of a start that it causes. */
  traceparent?: string | undefined;
};

export type RequestHold = {
  /**
   * Resolves to the container's addresses when it is awake. Rejects with one of:
   * - CONTAINER_HAS_NO_PORT, CONTAINER_STOPPED, or the cause of its failed start: waiting does not help;
   * - CONTAINER_NOT_FOUND: it was removed;
   * - HOLD_FULL, HOLD_TIMED_OUT, or the fault of `wake` (CONTROL_AWAY; a busy control gets the wake again);
   * - the signal's reason: the caller left its place in the queue.
   */
  wait(request: HoldRequest): Promise<HoldResult>;
  /** A queue worker has refused a connection: until it accepts one, requests wait again. */
  refused(id: string): void;
};

type HoldCounts = Pick<Metrics, "held" | "holds" | "holdSeconds">;

type HeldRequest = { caller: Caller; resolve(result: HoldResult): void; reject(error: unknown): void };

type HoldQueue = {
  waiters: Set<HeldRequest>;
  /** A wake was sent, and control has not replied yet. */
  waking: boolean;
  /** A wake was sent, and no view of the container came since. */
  woken: boolean;
  /** Why the last attempt to wake failed. */
  problem: string | undefined;
  /** What the start does, read for the waiters whose time limit has just passed. */
  status: Promise<StartStatus | undefined> | undefined;
  /** Ends the attempts to connect to a queue worker. */
  cancelProbe: (() => void) | undefined;
  unwatch(): void;
};

/** Suggested to clients when the queue is full: about the start of a small container. */
const RETRY_AFTER_MS = 2_000;
/** Suggested to probes of a sleeping container. */
const PROBE_RETRY_AFTER_MS = 60_000;
/** How long a request whose time limit has passed waits for what its response reports. Control reads a log for up to 1 s. */
const STATUS_MS = 2_000;
/** Delays between attempts to wake. */
const WAKE_RETRY = { firstMs: 100, longestMs: 2_000 };
/** Control is overloaded: the wake is repeated. */
const BUSY: ReadonlySet<FaultCode> = new Set(["CONTROL_BUSY", "DATAGROK_BUSY"]);
/** Control is unavailable: the wake is repeated if an earlier attempt reached it. */
const AWAY: ReadonlySet<FaultCode> = new Set(["CONTROL_AWAY", "DATAGROK_AWAY"]);
/** Several control processes are about to choose a leader. The wake has waited for it. */
const LEADERLESS: ReadonlySet<FaultCode> = new Set(["CONTROL_NO_LEADER", "CONTROL_STANDBY"]);
/** Faults of one caller, not of the container: another waiter may be permitted. */
const OF_CALLER: ReadonlySet<FaultCode> = new Set(["NOT_PERMITTED", "TOKEN_INVALID", "USER_CAPACITY_FULL"]);

/**
 * Holds requests until their containers are awake: one bounded queue for each container, one wake for all its waiters, released by events. `limit` is for
 * one queue; one user gets at most half of it. `timeoutMs`: how long a request may wait from its arrival, for the message when that is over.
 */
export function createHold(parts: {
  directory: Directory;
  clock: Clock;
  limit: number;
  timeoutMs: number;
  ofUser: HoldShareLimits;
  counts?: HoldCounts;
}): RequestHold {
  const { directory, clock, limit, timeoutMs, counts } = parts;
  const ofUser = { ...parts.ofUser, ofContainer: Math.min(parts.ofUser.ofContainer, Math.ceil(limit / 2)) };
  const shares = createHoldShares(ofUser);
  const queues = new Map<string, HoldQueue>();
  const workers = createWorkerPorts(clock);
  counts?.held.look((family) => family.at().set([...queues.values()].reduce((sum, { waiters }) => sum + waiters.size, 0)));

  return {
    wait: ({ view, caller, share = caller.userId, until, signal, traceparent }) => {
      const decision = wakeDecisionFor(view, clock.now());
      if (decision.kind === "go" && !workers.isUnproven(view))
        return Promise.resolve({ addresses: decision.addresses, held: false, start: view.start });
      if (decision.kind === "refuse") return Promise.reject(decision.fault);
      if ((queues.get(view.id)?.waiters.size ?? 0) >= limit) return refuse(`${limit} requests already wait for ${view.name}`);
      const leaveShare = shares.take(share, view.id);
      if (leaveShare === "ofContainer") return refuse(`${ofUser.ofContainer} requests of yours already wait for ${view.name}`);
      if (leaveShare === "ofAll") return refuse(`${ofUser.ofAll} requests of yours already wait for containers`);
      const queue = queues.get(view.id) ?? openQueue(view.id);
      const waiting = join(view, queue, caller, until, signal, leaveShare);
      if (decision.kind === "wake") void wake(view.id, queue, caller, traceparent);
      if (decision.kind === "go") probe(view, queue);
      return waiting;
    },
    refused: workers.refused,
  };

  function probe(view: ContainerView, queue: HoldQueue): void {
    queue.cancelProbe ??= workers.probe(view, (address) => {
      for (const waiter of queue.waiters) waiter.resolve({ addresses: [address], held: false, start: view.start });
    });
  }

  function refuse(why: string): Promise<never> {
    counts?.holds.at("HOLD_FULL").add();
    return Promise.reject(new Fault("HOLD_FULL", why, { retryAfterMs: RETRY_AFTER_MS }));
  }

  function openQueue(id: string): HoldQueue {
    const queue: HoldQueue = {
      waiters: new Set(),
      waking: false,
      woken: false,
      problem: undefined,
      status: undefined,
      cancelProbe: undefined,
      unwatch: () => undefined,
    };
    queues.set(id, queue);
    queue.unwatch = directory.watch(id, (view) => onView(id, queue, view));
    return queue;
  }

  function join(
    view: ContainerView,
    queue: HoldQueue,
    caller: Caller,
    until: number,
    signal: AbortSignal,
    leaveShare: () => void,
  ): Promise<HoldResult> {
    const from = clock.monotonic();
    return new Promise((resolve, reject) => {
      const leave = () => {
        cancel();
        signal.removeEventListener("abort", onAbort);
        if (queue.waiters.delete(waiter)) leaveShare();
        if (queue.waiters.size === 0) closeQueue(view.id, queue);
      };
      const waiter: HeldRequest = {
        caller,
        resolve: (result) => {
          leave();
          counts?.holds.at("awake").add();
          counts?.holdSeconds.at().observe((clock.monotonic() - from) / 1_000);
          resolve(result);
        },
        reject: (error) => {
          leave();
          counts?.holds.at(error instanceof Fault ? error.code : "left").add();
          reject(error);
        },
      };
      const onAbort = () => waiter.reject(signal.reason);
      const timeOut = async () => {
        const status = queue.problem === undefined ? await readStatus(view.id, queue, caller) : undefined;
        // It may have got a response meanwhile.
        if (queue.waiters.has(waiter)) waiter.reject(timeoutFault(view, timeoutMs, queue.problem, status));
      };
      const cancel = clock.after(Math.max(0, until - from), () => void timeOut());
      signal.addEventListener("abort", onAbort, { once: true });
      queue.waiters.add(waiter);
      if (signal.aborted) onAbort();
    });
  }

  /** One request to control for all waiters whose time limit passes at the same moment. */
  function readStatus(id: string, queue: HoldQueue, caller: Caller): Promise<StartStatus | undefined> {
    const ms = STATUS_MS;
    const overdue = () => new Error("the status of a start was not read in time");
    queue.status ??= withTimeout({ clock, ms, overdue }, (signal) => directory.startStatus(id, caller, signal))
      .catch(() => undefined)
      .finally(() => (queue.status = undefined));
    return queue.status;
  }

  function closeQueue(id: string, queue: HoldQueue): void {
    if (queues.get(id) !== queue) return;
    queues.delete(id);
    queue.cancelProbe?.();
    queue.unwatch();
  }

  async function wake(id: string, queue: HoldQueue, caller: Caller, traceparent?: string): Promise<void> {
    if (queue.woken || queue.waiters.size === 0) return;
    queue.waking = true;
    queue.woken = true;
    try {
      // Without a waiter's signal: the wake is for all waiters, and the first may leave.
      await requestWake(id, queue, caller, traceparent);
      queue.waking = false;
    } catch (error) {
      queue.waking = false;
      const isOfCaller = error instanceof Fault && OF_CALLER.has(error.code);
      for (const waiter of queue.waiters) if (!isOfCaller || waiter.caller.token === caller.token) waiter.reject(error);
      const [next] = queue.waiters;
      if (next === undefined) return;
      queue.woken = false;
      await wake(id, queue, next.caller);
    }
  }

  /** Repeats the wake until control takes it, or no waiter is left: each waiter has its own time limit. */
  async function requestWake(id: string, queue: HoldQueue, first: Caller, traceparent?: string): Promise<void> {
    for (let caller: Caller | undefined = first, attempts = 1; caller !== undefined; attempts++) {
      try {
        await directory.wake(id, caller, new AbortController().signal, traceparent);
        queue.problem = undefined;
        return;
      } catch (error) {
        if (!(error instanceof Fault)) throw error;
        const isLeaderless = LEADERLESS.has(error.code);
        if (!isLeaderless && !BUSY.has(error.code) && !(attempts > 1 && AWAY.has(error.code))) throw error;
        queue.problem = error.message;
        if (isLeaderless) attempts = 1;
      }
      await clock.sleep(scattered(backoffDelay(WAKE_RETRY, attempts)));
      caller = queue.waiters.values().next().value?.caller;
    }
  }

  function onView(id: string, queue: HoldQueue, view: ContainerView | undefined): void {
    const waiters = [...queue.waiters];
    if (view === undefined) {
      for (const waiter of waiters) waiter.reject(new Fault("CONTAINER_NOT_FOUND", "The container was removed while the request waited for it"));
      return;
    }
    const decision = wakeDecisionFor(view, clock.now());
    // A view from before the wake.
    if (queue.waking && decision.kind === "wake") return;
    queue.woken = false;
    // Its addresses may be others.
    queue.cancelProbe?.();
    queue.cancelProbe = undefined;
    if (decision.kind === "go" && workers.isUnproven(view)) probe(view, queue);
    else if (decision.kind === "go") for (const waiter of waiters) waiter.resolve({ addresses: decision.addresses, held: true, start: view.start });
    else if (decision.kind === "refuse") for (const waiter of waiters) waiter.reject(decision.fault);
    // A failure after the wake is its result, even if a retry is due.
    else if (view.availability.kind === "failed") for (const waiter of waiters) waiter.reject(Fault.from(view.availability.fault));
    else if (decision.kind === "wake" && waiters[0] !== undefined) void wake(id, queue, waiters[0].caller);
  }
}

/** What a request for a container does next. */
type WakeDecision = { kind: "go"; addresses: readonly ContainerAddress[] } | { kind: "hold" } | { kind: "wake" } | { kind: "refuse"; fault: Fault };

/**
 * `now` is epoch milliseconds: a failed start is retried from its `retryAt` on. One that is further away than any is of a clock that differs from this
 * one's: control, which refuses early retries too, decides.
 */
export function wakeDecisionFor(view: ContainerView, now: number): WakeDecision {
  const { availability } = view;
  switch (availability.kind) {
    case "awake":
      return { kind: "go", addresses: availability.addresses };
    case "coming":
      return { kind: "hold" };
    case "asleep":
      return { kind: "wake" };
    case "portless":
      return {
        kind: "refuse",
        fault: new Fault(
          "CONTAINER_HAS_NO_PORT",
          `${view.name} exposes no port: add EXPOSE to its Dockerfile, or \`port\` to its container.json, and publish again.`,
        ),
      };
    case "stopped":
      return { kind: "refuse", fault: Fault.from(availability.fault) };
    case "failed": {
      const retryAfterMs = availability.retryAt - now;
      if (availability.wakeable && (retryAfterMs <= 0 || retryAfterMs > LONGEST_RETRY_MS)) return { kind: "wake" };
      return { kind: "refuse", fault: Fault.from(availability.wakeable ? { retryAfterMs, ...availability.fault } : availability.fault) };
    }
  }
}

/** The fault of a probe whose container is not awake. */
export function asleepFault({ name }: Pick<ContainerView, "name">): Fault {
  return new Fault("CONTAINER_ASLEEP", `${name} is asleep, and this request does not wake it (BERTH_NO_WAKE)`, {
    retryAfterMs: PROBE_RETRY_AFTER_MS,
  });
}

function timeoutFault({ name }: ContainerView, timeoutMs: number, problem: string | undefined, status: StartStatus | undefined): Fault {
  const seconds = Math.round(timeoutMs / 100) / 10;
  const why = status === undefined ? `${problem === undefined ? "" : ` ${problem}.`} Try again.` : ` ${status.text}`;
  return new Fault("HOLD_TIMED_OUT", `${name} was not ready within ${seconds} s.${why}`, { logs: status?.logs });
}

/** Requests of one user that may wait: for one container, and for all. */
export type HoldShareLimits = { ofContainer: number; ofAll: number };

type HoldShares = {
  /** Takes a place of the user's share; the returned function gives it back. If the share is used up: which limit it met. */
  take(userId: string, containerId: string): (() => void) | keyof HoldShareLimits;
};

type UserShare = { all: number; containers: Map<string, number> };

/** Limits each user's waiting requests, so that one user cannot fill all places. */
function createHoldShares(limits: HoldShareLimits): HoldShares {
  const users = new Map<string, UserShare>();

  return {
    take: (userId, containerId) => {
      const share = users.get(userId) ?? { all: 0, containers: new Map<string, number>() };
      const here = share.containers.get(containerId) ?? 0;
      if (here >= limits.ofContainer) return "ofContainer";
      if (share.all >= limits.ofAll) return "ofAll";
      users.set(userId, share);
      share.all++;
      share.containers.set(containerId, here + 1);
      return () => {
        share.all--;
        const left = (share.containers.get(containerId) ?? 1) - 1;
        if (left === 0) share.containers.delete(containerId);
        else share.containers.set(containerId, left);
        if (share.all === 0 && users.get(userId) === share) users.delete(userId);
      };
    },
  };
}
