import type { WireLine } from "../wire.ts";
import type { Fault } from "../../../lib/fault.ts";

/** Of a pull, in bytes; 0 where it is not known. */
export type Progress = { done: number; total: number };

/** What takes its time, and tells how it goes. */
export type Work<T> = {
  result: Promise<T>;
  /** Calls `listener` at every progress, until the returned function is called. */
  hear(listener: (progress: Progress) => void): () => void;
};

/** The lines of an answer: each progress that there is time for, then what came of it. */
export async function* workLines<T>(work: Work<T>, parts: { line(result: T): WireLine; fault(error: unknown): Fault }): AsyncGenerator<WireLine> {
  let latest: Progress | undefined;
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
