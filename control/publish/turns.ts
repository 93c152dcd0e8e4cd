import { Fault } from "../../fault.ts";

export type Turns = {
  /** Runs `work` when it is its turn, in the order of asking. Faults: UPLOADS_FULL at once; the signal's reason while it waits. */
  take<R>(signal: AbortSignal, work: () => Promise<R>): Promise<R>;
};

const RETRY_MS = 10_000;

/** So much work at a time, so much more in line, and no more. */
export function openTurns({ atOnce, waiting }: { atOnce: number; waiting: number }): Turns {
  let running = 0;
  const line: (() => void)[] = [];

  const turn = (signal: AbortSignal) =>
    new Promise<void>((resolve, reject) => {
      const onAbort = () => {
        line.splice(line.indexOf(come), 1);
        reject(signal.reason as Error);
      };
      const come = () => {
        signal.removeEventListener("abort", onAbort);
        resolve();
      };
      signal.addEventListener("abort", onAbort, { once: true });
      line.push(come);
    });

  return {
    take: async (signal, work) => {
      signal.throwIfAborted();
      if (running >= atOnce) {
        if (line.length >= waiting)
          throw new Fault("UPLOADS_FULL", "Too many packages are being published; try again soon.", { retryAfterMs: RETRY_MS });
        // Whoever goes hands the turn on, so that nobody slips in between.
        await turn(signal);
      } else running++;
      try {
        return await work();
      } finally {
        const next = line.shift();
        if (next) next();
        else running--;
      }
    },
  };
}
