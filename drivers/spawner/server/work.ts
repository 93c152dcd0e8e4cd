import { Fault } from "../../../lib/fault.ts";
import type { WireLine } from "../wire.ts";

/** Of a pull, in bytes; 0 if unknown. */
export type PullProgress = { done: number; total: number };

/** Work that takes time and reports its progress. */
export type Work<T> = {
  result: Promise<T>;
  /** Calls `listener` at every progress, until the returned function is called. */
  onProgress(listener: (progress: PullProgress) => void): () => void;
};

/** The lines of a response: the latest progress whenever the reader is ready, then the result. */
export async function* workLines<T>(work: Work<T>, to: { line(result: T): WireLine; fault(error: unknown): Fault }): AsyncGenerator<WireLine> {
  let latest: PullProgress | undefined;
  let change = Promise.withResolvers<undefined>();
  const stopListening = work.onProgress((progress) => {
    latest = progress;
    change.resolve(undefined);
  });
  const last = work.result.then(to.line, (error: unknown): WireLine => ({ fault: to.fault(error).toJSON() }));
  try {
    for (;;) {
      const line = await Promise.race([last, change.promise]);
      if (line !== undefined) {
        yield line;
        return;
      }
      change = Promise.withResolvers<undefined>();
      if (latest) yield { pull: latest };
    }
  } finally {
    stopListening();
  }
}

/** Limits how much runs at the same time. */
export type Bulkhead = {
  /** Takes a place; the returned function releases it, once. Faults: SPAWNER_BUSY if there is none. */
  enter(): () => void;
};

const RETRY_AFTER_MS = 2_000;

/** `what` names the work in the fault's sentence. */
export function createBulkhead(most: number, what: string): Bulkhead {
  let taken = 0;
  return {
    enter: () => {
      if (taken >= most)
        throw new Fault("SPAWNER_BUSY", `This spawner already has ${most} ${what} at the same time; ask again in a moment.`, {
          retryAfterMs: RETRY_AFTER_MS,
        });
      taken++;
      let released = false;
      return () => {
        if (!released) taken--;
        released = true;
      };
    },
  };
}
