/**
 * Runs tasks with the same key one after the other, in the order of the calls; those of other keys do not wait. If `signal` aborts before its turn, a task does
 * not run, and the call rejects with the signal's reason.
 */
export type KeyedMutex = <T>(key: string, task: () => Promise<T>, signal?: AbortSignal) => Promise<T>;

export function createKeyedMutex(): KeyedMutex {
  const last = new Map<string, Promise<void>>();
  return (key, task, signal) => {
    const result = (last.get(key) ?? Promise.resolve()).then(() => {
      signal?.throwIfAborted();
      return task();
    });
    const forget = () => {
      if (last.get(key) === settled) last.delete(key);
    };
    const settled = result.then(forget, forget);
    last.set(key, settled);
    return result;
  };
}
