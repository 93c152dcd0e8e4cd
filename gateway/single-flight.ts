import type { Fault } from "../lib/fault.ts";
import { raceAbort } from "../lib/deadline.ts";

/** Questions of which each is asked once at a time, however many want the answer. */
export type SharedQuestions<T> = {
  /** The answer to the question of this key that is under way, or else to `question`, which is broken off once nobody waits any more. Faults: `full`. */
  ask(key: string, signal: AbortSignal, question: (signal: AbortSignal) => Promise<T>): Promise<T>;
  has(key: string): boolean;
};

type Flight<T> = { answer: Promise<T>; waiting: number; over: AbortController };

const NOBODY_WAITS = new Error("nobody waits for the answer any more");

/** `full`: what is thrown where `most` others are under way. */
export function sharedQuestions<T>(most: number, full: () => Fault): SharedQuestions<T> {
  const asking = new Map<string, Flight<T>>();

  const begin = (key: string, question: (signal: AbortSignal) => Promise<T>): Flight<T> => {
    if (asking.size >= most) throw full();
    const over = new AbortController();
    const flight: Flight<T> = { answer: question(over.signal), waiting: 0, over };
    asking.set(key, flight);
    const land = () => {
      if (asking.get(key) === flight) asking.delete(key);
    };
    flight.answer.then(land, land);
    return flight;
  };

  return {
    has: (key) => asking.has(key),
    ask: async (key, signal, question) => {
      signal.throwIfAborted();
      const flight = asking.get(key) ?? begin(key, question);
      flight.waiting++;
      try {
        return await raceAbort(flight.answer, signal);
      } finally {
        flight.waiting--;
        if (flight.waiting === 0 && asking.get(key) === flight) {
          asking.delete(key);
          flight.over.abort(NOBODY_WAITS);
        }
      }
    },
  };
}
