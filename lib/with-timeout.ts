import type { Clock } from "./clock.ts";

/**
 * Runs a task under a time limit and the caller's signal, whichever ends first, and leaves neither a timer nor a listener
 * behind. Rejects at once with `overdue()` or the signal's reason, even where the task is slow to notice its own signal.
 */
export async function within<T>(
  limit: { clock: Clock; ms: number; overdue: () => Error; signal?: AbortSignal | undefined },
  task: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  limit.signal?.throwIfAborted();
  const own = new AbortController();
  const onAbort = () => own.abort(limit.signal?.reason);
  limit.signal?.addEventListener("abort", onAbort, { once: true });
  const cancel = limit.clock.after(limit.ms, () => own.abort(limit.overdue()));
  const ended = new Promise<never>((_, reject) => {
    own.signal.addEventListener("abort", () => reject(own.signal.reason as Error), { once: true });
  });
  try {
    return await Promise.race([task(own.signal), ended]);
  } finally {
    cancel();
    limit.signal?.removeEventListener("abort", onAbort);
  }
}
