import type { Clock } from "../lib/clock.ts";
import { raceAbort } from "../lib/deadline.ts";
import type { Fault } from "../lib/fault.ts";

/** Shares look-ups: of each key, one is in flight at a time. */
type SingleFlight<T> = {
  /**
   * Resolves to the result of the look-up in flight, or else of `lookUp`. The look-up is aborted when no caller waits for it.
   * Faults: `full`, and those of the look-up.
   */
  run(key: string, signal: AbortSignal, lookUp: (signal: AbortSignal) => Promise<T>): Promise<T>;
  has(key: string): boolean;
};

type InFlight<T> = { result: Promise<T>; waiting: number; over: AbortController };

const NO_WAITERS = new Error("no caller waits for the result");

/** `full`: thrown if `max` look-ups are in flight. */
export function createSingleFlight<T>(max: number, full: () => Fault): SingleFlight<T> {
  const inFlight = new Map<string, InFlight<T>>();

  const begin = (key: string, lookUp: (signal: AbortSignal) => Promise<T>): InFlight<T> => {
    if (inFlight.size >= max) throw full();
    const over = new AbortController();
    const flight: InFlight<T> = { result: lookUp(over.signal), waiting: 0, over };
    inFlight.set(key, flight);
    const land = () => {
      if (inFlight.get(key) === flight) inFlight.delete(key);
    };
    flight.result.then(land, land);
    return flight;
  };

  return {
    has: (key) => inFlight.has(key),
    run: async (key, signal, lookUp) => {
      signal.throwIfAborted();
      const flight = inFlight.get(key) ?? begin(key, lookUp);
      flight.waiting++;
      try {
        return await raceAbort(flight.result, signal);
      } finally {
        flight.waiting--;
        if (flight.waiting === 0 && inFlight.get(key) === flight) {
          inFlight.delete(key);
          flight.over.abort(NO_WAITERS);
        }
      }
    },
  };
}

type JoinedQuery<T> = { keys: string[]; replies: Promise<readonly T[]>; waiting: number; answered: boolean; over: AbortController };

/**
 * Joins the look-ups that begin in one turn of the event loop into one query, of at most `max` keys. A query is aborted when no look-up waits for it.
 * Its failure is that of each look-up.
 */
export function createJoinedLookups<T>(
  max: number,
  findAll: (keys: readonly string[], signal: AbortSignal) => Promise<readonly T[]>,
): (key: string, signal: AbortSignal) => Promise<T | undefined> {
  let next: JoinedQuery<T> | undefined;
  const begin = (): JoinedQuery<T> => {
    const over = new AbortController();
    const keys: string[] = [];
    const sent = new Promise<void>((resolve) => setImmediate(resolve));
    const query: JoinedQuery<T> = {
      keys,
      waiting: 0,
      answered: false,
      over,
      replies: sent.then(async () => {
        if (next === query) next = undefined;
        over.signal.throwIfAborted();
        const replies = await findAll(keys, over.signal);
        query.answered = true;
        return replies;
      }),
    };
    return query;
  };
  return async (key, signal) => {
    signal.throwIfAborted();
    const query = (next ??= begin());
    const index = query.keys.push(key) - 1;
    if (query.keys.length >= max) next = undefined;
    query.waiting++;
    try {
      return (await raceAbort(query.replies, signal))[index];
    } finally {
      query.waiting--;
      if (query.waiting === 0 && !query.answered) {
        // It may not have been sent yet: later look-ups of this turn begin another.
        if (next === query) next = undefined;
        query.over.abort(NO_WAITERS);
      }
    }
  };
}

export type FairQueueLimits = {
  /** Turns at a time: in total, and of one owner; `ofOneAlone`: while no other owner waits, `ofOne` by default. */
  atOnce: number;
  ofOne: number;
  ofOneAlone?: number;
  /** Requests that wait for a turn: in total, and of one owner; and for how long in milliseconds. */
  waiting: number;
  waitingOfOne: number;
  waitMs: number;
};

export type FairQueue = {
  /** Resolves to the function that ends the turn. Rejects with `full`, or with the signal's reason. */
  take(owner: string, signal: AbortSignal): Promise<() => void>;
};

type FairQueueWaiter = { begin(): void; refuse(): void };

/** `waiters`: in the order of arrival. */
type FairQueueOwner = { running: number; waiters: Set<FairQueueWaiter> };

/**
 * A semaphore whose owners take turns: the next turn goes to the owner with the fewest running, so a flood of one owner delays no other. If all waiting
 * places are taken, an owner with few waiters replaces the last waiter of the owner with the most.
 */
export function createFairQueue(limits: FairQueueLimits, full: () => Fault, clock: Clock): FairQueue {
  /** In the order of their next turns. */
  const owners = new Map<string, FairQueueOwner>();
  let running = 0;
  let waiting = 0;

  const deleteIfIdle = (name: string, owner: FairQueueOwner) => {
    if (owner.running === 0 && owner.waiters.size === 0) owners.delete(name);
  };

  const mayBegin = (owner: FairQueueOwner): boolean => {
    const { atOnce, ofOne, ofOneAlone = ofOne } = limits;
    return running < atOnce && owner.running < (waiting > owner.waiters.size ? ofOne : ofOneAlone);
  };

  const begin = (name: string, owner: FairQueueOwner): (() => void) => {
    running++;
    owner.running++;
    owners.delete(name);
    owners.set(name, owner);
    let over = false;
    return () => {
      if (over) return;
      over = true;
      running--;
      owner.running--;
      deleteIfIdle(name, owner);
      next();
    };
  };

  const nextWaiter = (): FairQueueWaiter | undefined => {
    if (running >= limits.atOnce || waiting === 0) return undefined;
    let chosen: FairQueueOwner | undefined;
    for (const owner of owners.values()) {
      if (owner.waiters.size === 0 || owner.running >= (chosen?.running ?? Infinity) || !mayBegin(owner)) continue;
      chosen = owner;
      if (chosen.running === 0) break;
    }
    const [waiter] = chosen?.waiters ?? [];
    return waiter;
  };
  const next = () => {
    for (let waiter = nextWaiter(); waiter !== undefined; waiter = nextWaiter()) waiter.begin();
  };

  /** False if no place is free, and no other owner has more waiters. */
  const freePlace = (owner: FairQueueOwner): boolean => {
    if (owner.waiters.size >= limits.waitingOfOne) return false;
    if (waiting < limits.waiting) return true;
    let most = owner;
    for (const other of owners.values()) if (other.waiters.size > most.waiters.size) most = other;
    if (most.waiters.size <= owner.waiters.size + 1) return false;
    [...most.waiters].at(-1)?.refuse();
    return true;
  };

  return {
    take: (name, signal) => {
      if (signal.aborted) return Promise.reject(signal.reason as Error);
      const owner = owners.get(name) ?? { running: 0, waiters: new Set<FairQueueWaiter>() };
      owners.set(name, owner);
      // While a turn is free, only owners at their own limit wait.
      if (mayBegin(owner)) return Promise.resolve(begin(name, owner));
      if (!freePlace(owner)) {
        deleteIfIdle(name, owner);
        return Promise.reject(full());
      }
      return new Promise((resolve, reject) => {
        const leave = () => {
          cancel();
          signal.removeEventListener("abort", onAbort);
          if (owner.waiters.delete(waiter)) waiting--;
        };
        const fail = (reason: unknown) => {
          leave();
          deleteIfIdle(name, owner);
          reject(reason);
          // Another owner may wait alone now.
          next();
        };
        const waiter: FairQueueWaiter = {
          begin: () => {
            leave();
            resolve(begin(name, owner));
          },
          refuse: () => fail(full()),
        };
        const onAbort = () => fail(signal.reason);
        const cancel = clock.after(limits.waitMs, waiter.refuse);
        signal.addEventListener("abort", onAbort, { once: true });
        owner.waiters.add(waiter);
        waiting++;
      });
    },
  };
}

/** One turn that several owners want: the first that begins is the turn of all. */
export class SharedTurn {
  /** Resolves to the function that ends it. Rejects when the last turn that waits is refused, or with the signal's reason. */
  readonly begun: Promise<() => void>;
  readonly #queue: FairQueue;
  readonly #signal: AbortSignal;
  readonly #result = Promise.withResolvers<() => void>();
  readonly #waiting = new Map<string, { users: number; left: AbortController }>();
  #hasBegun = false;
  #refusal: unknown;

  constructor(queue: FairQueue, signal: AbortSignal) {
    this.#queue = queue;
    this.#signal = signal;
    this.begun = this.#result.promise;
  }

  /** Waits for a turn of this owner too, until the function is called that it returns. */
  join(owner: string): () => void {
    if (this.#hasBegun) return () => undefined;
    const waiting = this.#waiting.get(owner) ?? this.#take(owner);
    waiting.users++;
    return () => {
      if (--waiting.users === 0) waiting.left.abort(NO_WAITERS);
    };
  }

  #take(owner: string): { users: number; left: AbortController } {
    const waiting = { users: 0, left: new AbortController() };
    const forget = () => {
      if (this.#waiting.get(owner) === waiting) this.#waiting.delete(owner);
    };
    // A user that joins after the last one of this owner has left needs another turn.
    waiting.left.signal.addEventListener("abort", forget, { once: true });
    this.#waiting.set(owner, waiting);
    const begin = (end: () => void): void => {
      if (this.#hasBegun || waiting.left.signal.aborted) {
        end();
        return this.#failIfLast(NO_WAITERS);
      }
      this.#hasBegun = true;
      this.#result.resolve(end);
      for (const { left } of this.#waiting.values()) left.abort(NO_WAITERS);
    };
    const fail = (error: unknown): void => {
      forget();
      if (!waiting.left.signal.aborted) this.#refusal = error;
      this.#failIfLast(error);
    };
    this.#queue.take(owner, AbortSignal.any([this.#signal, waiting.left.signal])).then(begin, fail);
    return waiting;
  }

  /** Users of an owner that was refused may still wait for the turn of another, which leaves. */
  #failIfLast(error: unknown): void {
    if (this.#waiting.size === 0) this.#result.reject(this.#refusal ?? error);
  }
}
