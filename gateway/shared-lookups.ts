import type { Clock } from "../lib/clock.ts";
import type { Fault } from "../lib/fault.ts";
import { raceAbort } from "../lib/deadline.ts";

export type FairQueueLimits = {
  /** Turns that are under way at a time, and of those of one owner. */
  atOnce: number;
  ofOne: number;
  /** Owners' requests that may wait for a turn, all together and of one owner, and for how long in milliseconds. */
  waiting: number;
  waitingOfOne: number;
  waitMs: number;
};

export type FairQueue = {
  /**
   * A turn, which ends when the returned function is called. Faults: `full`; an abort rejects with the signal's reason, and gives the place
   * up.
   */
  take(owner: string, signal: AbortSignal): Promise<() => void>;
};

type FairQueueWaiter = { begin(): void; refuse(): void };

/** `waiters`: in the order in which they came. */
type Owner = { running: number; waiters: Set<FairQueueWaiter> };

/**
 * Turns that owners take one after another: next is who has the fewest under way, so that who asks for many does not hold the others up. Where all places to wait are
 * taken, who has few waiting takes the place of the last of who has most.
 */
export function createFairQueue(limits: FairQueueLimits, full: () => Fault, clock: Clock): FairQueue {
  /** In the order in which it is their turn. */
  const owners = new Map<string, Owner>();
  let running = 0;
  let waiting = 0;

  const forget = (name: string, owner: Owner) => {
    if (owner.running === 0 && owner.waiters.size === 0) owners.delete(name);
  };

  const begin = (name: string, owner: Owner): (() => void) => {
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
      forget(name, owner);
      next();
    };
  };

  const next = () => {
    if (running >= limits.atOnce || waiting === 0) return;
    let chosen: Owner | undefined;
    for (const owner of owners.values()) {
      if (owner.waiters.size === 0 || owner.running >= (chosen?.running ?? limits.ofOne)) continue;
      chosen = owner;
      if (chosen.running === 0) break;
    }
    const [waiter] = chosen?.waiters ?? [];
    waiter?.begin();
  };

  /** False where there is none, and no other owner has more waiting. */
  const makeRoom = (owner: Owner): boolean => {
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
      // No owner waits while a turn is free, except one that has all of its own.
      if (running < limits.atOnce && owner.running < limits.ofOne) return Promise.resolve(begin(name, owner));
      if (!makeRoom(owner)) {
        forget(name, owner);
        return Promise.reject(full());
      }
      return new Promise((resolve, reject) => {
        const leave = () => {
          cancel();
          signal.removeEventListener("abort", onAbort);
          if (owner.waiters.delete(waiter)) waiting--;
        };
        const give = (reason: unknown) => {
          leave();
          forget(name, owner);
          reject(reason);
        };
        const waiter: FairQueueWaiter = {
          begin: () => {
            leave();
            resolve(begin(name, owner));
          },
          refuse: () => give(full()),
        };
        const onAbort = () => give(signal.reason);
        const cancel = clock.after(limits.waitMs, waiter.refuse);
        signal.addEventListener("abort", onAbort, { once: true });
        owner.waiters.add(waiter);
        waiting++;
      });
    },
  };
}

/** Questions of which each is asked once at a time, however many want the answer. */
export type SingleFlight<T> = {
  /** The answer to the question of this key that is under way, or else to `question`, which is broken off once nobody waits any more. Faults: `full`. */
  run(key: string, signal: AbortSignal, question: (signal: AbortSignal) => Promise<T>): Promise<T>;
  has(key: string): boolean;
};

type InFlight<T> = { answer: Promise<T>; waiting: number; over: AbortController };

const NO_WAITERS = new Error("nobody waits for the answer any more");

/** `full`: what is thrown where `most` others are under way. */
export function createSingleFlight<T>(most: number, full: () => Fault): SingleFlight<T> {
  const asking = new Map<string, InFlight<T>>();

  const begin = (key: string, question: (signal: AbortSignal) => Promise<T>): InFlight<T> => {
    if (asking.size >= most) throw full();
    const over = new AbortController();
    const flight: InFlight<T> = { answer: question(over.signal), waiting: 0, over };
    asking.set(key, flight);
    const land = () => {
      if (asking.get(key) === flight) asking.delete(key);
    };
    flight.answer.then(land, land);
    return flight;
  };

  return {
    has: (key) => asking.has(key),
    run: async (key, signal, question) => {
      signal.throwIfAborted();
      const flight = asking.get(key) ?? begin(key, question);
      flight.waiting++;
      try {
        return await raceAbort(flight.answer, signal);
      } finally {
        flight.waiting--;
        if (flight.waiting === 0 && asking.get(key) === flight) {
          asking.delete(key);
          flight.over.abort(NO_WAITERS);
        }
      }
    },
  };
}
