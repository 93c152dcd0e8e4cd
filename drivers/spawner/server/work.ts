import type { WireLine } from "../wire.ts";
import { Fault } from "../../../lib/fault.ts";

/** Of a pull, in bytes; 0 where it is not known. */
export type PullProgress = { done: number; total: number };

/** What takes its time, and tells how it goes. */
export type Work<T> = {
  result: Promise<T>;
  /** Calls `listener` at every progress, until the returned function is called. */
  hear(listener: (progress: PullProgress) => void): () => void;
};

/** The lines of an answer: each progress that there is time for, then what came of it. */
export async function* workLines<T>(work: Work<T>, parts: { line(result: T): WireLine; fault(error: unknown): Fault }): AsyncGenerator<WireLine> {
  let latest: PullProgress | undefined;
  let news = Promise.withResolvers<undefined>();
  const deafen = work.hear((progress) => {
    latest = progress;
    news.resolve(undefined);
  });
  const last = work.result.then(parts.line, (error: unknown): WireLine => ({ fault: parts.fault(error).toJSON() }));
  try {
    for (;;) {
      const line = await Promise.race([last, news.promise]);
      if (line !== undefined) {
        yield line;
        return;
      }
      news = Promise.withResolvers<undefined>();
      if (latest) yield { pull: latest };
    }
  } finally {
    deafen();
  }
}

/** A number of things that may go on at the same time. */
export type Bulkhead = {
  /** Takes a place; the returned function gives it back, once. Faults: SPAWNER_BUSY where there is none. */
  enter(): () => void;
};

const COME_AGAIN_MS = 2_000;

/** `what` ends the sentence "… at the same time are as many as this spawner takes". */
export function createBulkhead(most: number, what: string): Bulkhead {
  let taken = 0;
  return {
    enter: () => {
      if (taken >= most)
        throw new Fault("SPAWNER_BUSY", `${most} ${what} at the same time are as many as this spawner takes; ask again in a moment.`, {
          retryAfterMs: COME_AGAIN_MS,
        });
      taken++;
      let given = false;
      return () => {
        if (!given) taken--;
        given = true;
      };
    },
  };
}
