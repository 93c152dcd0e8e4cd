/** Runs `work` alone among those of the same package, in the order in which they came. The signal's reason is thrown where it came before its turn. */
export type PackageLocks = <R>(packageName: string, signal: AbortSignal, work: () => Promise<R>) => Promise<R>;

/** Publishes of one package share its folder of files. Their number is bounded by the publish slots. */
export function createPackageLocks(): PackageLocks {
  const last = new Map<string, Promise<void>>();
  return (packageName, signal, work) => {
    const run = (last.get(packageName) ?? Promise.resolve()).then(() => {
      signal.throwIfAborted();
      return work();
    });
    const ended = run.then(
      () => undefined,
      () => undefined,
    );
    last.set(packageName, ended);
    void ended.finally(() => {
      if (last.get(packageName) === ended) last.delete(packageName);
    });
    return run;
  };
}
