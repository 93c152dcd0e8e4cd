import type { Fault } from "../lib/fault.ts";
import { raceAbort } from "../lib/deadline.ts";

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
