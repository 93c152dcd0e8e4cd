import type { Clock } from "../../lib/clock.ts";
import { backoffDelay, scattered } from "../../lib/backoff.ts";
import { Fault, type FaultCode } from "../../lib/fault.ts";
import type { ContainerAddress, ContainerView, Directory, Caller } from "../contract.ts";
import type { Metrics } from "../../lib/metrics/open-metrics.ts";
import type { StartTimes } from "../../lib/start-phases.ts";
import { wakeDecisionFor } from "./wake-decision.ts";

export type HoldResult = {
  /** Any of them; never empty. */
  addresses: readonly ContainerAddress[];
  /** True where the request had to wait for the container. */
  held: boolean;
  start?: StartTimes | undefined;
};

export type HoldRequest = {
  view: ContainerView;
  caller: Caller;
  /** When waiting ends, on the clock's monotonic scale. */
  until: number;
  signal: AbortSignal;
  /** What a wake for it is part of, where that is recorded. */
  traceparent?: string | undefined;
};

export type RequestHold = {
  /**
   * Where the container is reached, as soon as it is awake; at once where it is. Otherwise one of:
   * - CONTAINER_HAS_NO_PORT, CONTAINER_STOPPED, the cause of its failed start: it will not be reached by waiting;
   * - CONTAINER_NOT_FOUND: it was removed meanwhile;
   * - HOLD_FULL, HOLD_TIMED_OUT, or the fault of `wake` (CONTROL_AWAY where control is unavailable; a busy one gets the wake again);
   * - the signal's reason: the caller left, and with it its place in the queue.
   */
  wait(wait: HoldRequest): Promise<HoldResult>;
};

export type HoldCounts = Pick<Metrics, "held" | "holds" | "holdSeconds">;

type HeldRequest = { caller: Caller; resolve(found: HoldResult): void; reject(error: unknown): void };

type HoldQueue = {
  waiters: Set<HeldRequest>;
  /** A wake was asked for, and control has not answered yet. */
  waking: boolean;
  /** A wake was asked for, and nothing was heard of the container since. */
  woken: boolean;
  /** Why control has not taken the wake yet, after a failed attempt. */
  trouble: string | undefined;
  unwatch(): void;
};

/** When a caller who found the queue full should come again, in milliseconds: about the start of a small container. */
const RETRY_AFTER_MS = 2_000;
/** Between two attempts to have a container woken. */
const WAKE_RETRY = { firstMs: 100, longestMs: 2_000 };
/** Control is there, and has too much to do: the wake may be repeated. */
const BUSY: ReadonlySet<FaultCode> = new Set(["CONTROL_BUSY", "DATAGROK_BUSY"]);
/** Gone for the moment; after an attempt that met somebody, it will be back. */
const AWAY: ReadonlySet<FaultCode> = new Set(["CONTROL_AWAY", "DATAGROK_AWAY"]);
/** They say something of who asked, and nothing of the container: the next one may be let. */
const ONE_CALLERS: ReadonlySet<FaultCode> = new Set(["NOT_PERMITTED", "TOKEN_INVALID"]);

/**
 * Requests that wait for containers: one bounded queue for each, one wake for any number of waiters, released by events. `limit` is of one
 * queue, of which one user has half at most.
 */
export function createHold(parts: { directory: Directory; clock: Clock; limit: number; ofUser: HoldShareLimits; counts?: HoldCounts }): RequestHold {
  const { directory, clock, limit, counts } = parts;
  const ofUser = { ...parts.ofUser, ofContainer: Math.min(parts.ofUser.ofContainer, Math.ceil(limit / 2)) };
  const shares = createHoldShares(ofUser);
  const queues = new Map<string, HoldQueue>();
  counts?.held.look((family) => family.at().set([...queues.values()].reduce((sum, { waiters }) => sum + waiters.size, 0)));

  return {
    wait: ({ view, caller, until, signal, traceparent }) => {
      const verdict = wakeDecisionFor(view, clock.now());
      if (verdict.kind === "go") return Promise.resolve({ addresses: verdict.addresses, held: false, start: view.start });
      if (verdict.kind === "refuse") return Promise.reject(verdict.fault);
      if ((queues.get(view.id)?.waiters.size ?? 0) >= limit) return refuse(`${limit} requests already wait for ${view.name}`);
      const leaveShare = shares.take(caller.userId, view.id);
      if (leaveShare === "ofContainer") return refuse(`${ofUser.ofContainer} requests of yours already wait for ${view.name}`);
      if (leaveShare === "ofAll") return refuse(`${ofUser.ofAll} requests of yours already wait for containers`);
      const queue = queues.get(view.id) ?? openQueue(view.id);
      const waiting = join(view, queue, caller, until, signal, leaveShare);
      if (verdict.kind === "wake") void wake(view.id, queue, caller, traceparent);
      return waiting;
    },
  };

  function refuse(why: string): Promise<never> {
    counts?.holds.at("HOLD_FULL").add();
    return Promise.reject(new Fault("HOLD_FULL", why, { retryAfterMs: RETRY_AFTER_MS }));
  }

  function openQueue(id: string): HoldQueue {
    const queue: HoldQueue = { waiters: new Set(), waking: false, woken: false, trouble: undefined, unwatch: () => undefined };
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
        resolve: (found) => {
          leave();
          counts?.holds.at("awake").add();
          counts?.holdSeconds.at().observe((clock.monotonic() - from) / 1_000);
          resolve(found);
        },
        reject: (error) => {
          leave();
          counts?.holds.at(error instanceof Fault ? error.code : "left").add();
          reject(error);
        },
      };
      const onAbort = () => waiter.reject(signal.reason);
      const cancel = clock.after(Math.max(0, until - clock.monotonic()), () => waiter.reject(lateFault(view, queue.trouble)));
      signal.addEventListener("abort", onAbort, { once: true });
      queue.waiters.add(waiter);
      if (signal.aborted) onAbort();
    });
  }

  function closeQueue(id: string, queue: HoldQueue): void {
    if (queues.get(id) !== queue) return;
    queues.delete(id);
    queue.unwatch();
  }

  async function wake(id: string, queue: HoldQueue, caller: Caller, traceparent?: string): Promise<void> {
    if (queue.woken || queue.waiters.size === 0) return;
    queue.waking = true;
    queue.woken = true;
    try {
      // Not a waiter's own signal: the wake belongs to all of them, and the first may leave.
      await requestWake(id, queue, caller, traceparent);
      queue.waking = false;
    } catch (error) {
      queue.waking = false;
      const isHis = error instanceof Fault && ONE_CALLERS.has(error.code);
      for (const waiter of queue.waiters) if (!isHis || waiter.caller.token === caller.token) waiter.reject(error);
      const [next] = queue.waiters;
      if (next === undefined) return;
      queue.woken = false;
      await wake(id, queue, next.caller);
    }
  }

  /** Repeats the wake until it is taken or no waiter is left: each waiter has its own limit. */
  async function requestWake(id: string, queue: HoldQueue, first: Caller, traceparent?: string): Promise<void> {
    for (let caller: Caller | undefined = first, attempts = 1; caller !== undefined; attempts++) {
      try {
        await directory.wake(id, caller, new AbortController().signal, traceparent);
        queue.trouble = undefined;
        return;
      } catch (error) {
        if (!(error instanceof Fault) || !(BUSY.has(error.code) || (attempts > 1 && AWAY.has(error.code)))) throw error;
        queue.trouble = error.message;
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
    const verdict = wakeDecisionFor(view, clock.now());
    // What it was before the wake, told once more.
    if (queue.waking && verdict.kind === "wake") return;
    queue.woken = false;
    if (verdict.kind === "go") for (const waiter of waiters) waiter.resolve({ addresses: verdict.addresses, held: true, start: view.start });
    else if (verdict.kind === "refuse") for (const waiter of waiters) waiter.reject(verdict.fault);
    // A failure after the wake is its outcome, whatever its back-off says.
    else if (view.availability.kind === "failed") for (const waiter of waiters) waiter.reject(Fault.from(view.availability.fault));
    else if (verdict.kind === "wake" && waiters[0] !== undefined) void wake(id, queue, waiters[0].caller);
  }
}

function lateFault(view: ContainerView, trouble: string | undefined): Fault {
  const why = trouble === undefined ? "" : `: ${trouble}`;
  return new Fault("HOLD_TIMED_OUT", `${view.name} did not become ready in time${why}; it may be on the next try`);
}

/** How many requests of one user may wait: for one container, and for all of them together. */
export type HoldShareLimits = { ofContainer: number; ofAll: number };

export type HoldShares = {
  /** A place of the user's share, given back by the returned function; what of it is spent where there is none. */
  take(userId: string, containerId: string): (() => void) | keyof HoldShareLimits;
};

type UserShare = { all: number; containers: Map<string, number> };

/** What each user has of the places to wait in, so that one who fills a share leaves the rest to the others. */
export function createHoldShares(limits: HoldShareLimits): HoldShares {
  const users = new Map<string, UserShare>();

  return {
    take: (userId, containerId) => {
      const spent = users.get(userId) ?? { all: 0, containers: new Map<string, number>() };
      const here = spent.containers.get(containerId) ?? 0;
      if (here >= limits.ofContainer) return "ofContainer";
      if (spent.all >= limits.ofAll) return "ofAll";
      users.set(userId, spent);
      spent.all++;
      spent.containers.set(containerId, here + 1);
      return () => {
        spent.all--;
        const left = (spent.containers.get(containerId) ?? 1) - 1;
        if (left === 0) spent.containers.delete(containerId);
        else spent.containers.set(containerId, left);
        if (spent.all === 0 && users.get(userId) === spent) users.delete(userId);
      };
    },
  };
}
