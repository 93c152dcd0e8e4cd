/** The long driver calls under way (a deploy, a resolve), so that a wish can end one at once. One per key, as the queue has one worker. */
export type InFlightOperations = {
  /** Runs `task` under a signal that also aborts by `abort(key)`. `generation` is what it deploys. */
  run<T>(key: string, generation: number, signal: AbortSignal, task: (signal: AbortSignal) => Promise<T>): Promise<T>;
  /** Undefined where none is under way. */
  generation(key: string): number | undefined;
  abort(key: string, reason: Error): void;
};

export function createInFlightOperations(): InFlightOperations {
  const flying = new Map<string, { generation: number; stop: AbortController }>();
  return {
    run: async (key, generation, signal, task) => {
      const stop = new AbortController();
      flying.set(key, { generation, stop });
      try {
        return await task(AbortSignal.any([signal, stop.signal]));
      } finally {
        flying.delete(key);
      }
    },
    generation: (key) => flying.get(key)?.generation,
    abort: (key, reason) => flying.get(key)?.stop.abort(reason),
  };
}
