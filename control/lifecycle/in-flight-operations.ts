/** The long driver calls in progress (a deploy, a resolve), so that a request can abort one at once. One per key, as the queue has one worker. */
export type InFlightOperations = {
  /** Runs `task` under a signal that also aborts by `abort(key)`, of one key or any of several. `generation` is what it deploys, or since when an image waits for it (epoch ms). */
  run<T>(key: string | readonly string[], generation: number, signal: AbortSignal, task: (signal: AbortSignal) => Promise<T>): Promise<T>;
  /** Undefined where none is in progress. */
  generation(key: string): number | undefined;
  abort(key: string, reason: Error): void;
};

export function createInFlightOperations(): InFlightOperations {
  const operations = new Map<string, { generation: number; stop: AbortController }>();
  return {
    run: async (key, generation, signal, task) => {
      const stop = new AbortController();
      const keys = [key].flat();
      for (const one of keys) operations.set(one, { generation, stop });
      try {
        return await task(AbortSignal.any([signal, stop.signal]));
      } finally {
        for (const one of keys) if (operations.get(one)?.stop === stop) operations.delete(one);
      }
    },
    generation: (key) => operations.get(key)?.generation,
    abort: (key, reason) => operations.get(key)?.stop.abort(reason),
  };
}
