import type { Clock } from "../../lib/clock.ts";

/** A limit that progress pushes back, up to a cap. */
export type ProgressDeadline = {
  /** Aborts with `reason()` once there was no progress for `ms`, or with the parent's own reason. */
  signal: AbortSignal;
  /** There was progress: the limit counts from now, but never beyond the cap. */
  renew(): void;
  /** The work has ended: leaves neither a timer nor a listener behind. */
  end(): void;
};

/** `ms` and `capMs` count from now. */
export function progressDeadline(options: {
  clock: Clock;
  ms: number;
  capMs: number;
  reason: () => Error;
  /** Awaited between the limit and the abort. */
  lastWords?: (() => Promise<void>) | undefined;
  parent: AbortSignal;
}): ProgressDeadline {
  const { clock, ms, parent } = options;
  const own = new AbortController();
  const lastAt = clock.monotonic() + Math.max(ms, options.capMs);
  const onParent = () => own.abort(parent.reason);
  let ended = false;
  const abort = () => {
    if (!ended) own.abort(options.reason());
  };
  const expire = () => (options.lastWords ? void options.lastWords().then(abort) : abort());
  let cancel = clock.after(ms, expire);
  if (parent.aborted) onParent();
  else parent.addEventListener("abort", onParent, { once: true });
  return {
    signal: own.signal,
    renew: () => {
      cancel();
      cancel = clock.after(Math.max(0, Math.min(ms, lastAt - clock.monotonic())), expire);
    },
    end: () => {
      ended = true;
      cancel();
      parent.removeEventListener("abort", onParent);
    },
  };
}
