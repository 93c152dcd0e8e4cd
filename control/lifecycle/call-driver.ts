import type { Call, DeployCall, Driver, DriverVerb } from "../../drivers/driver.ts";
import type { Clock } from "../../lib/clock.ts";
import { type DeadlineOptions, openDeadline } from "../../lib/deadline.ts";

/** How long a driver may clean up after an abort, before its call is abandoned. */
const CLEAN_UP_MS = 10_000;

export type CallDeadline = Omit<DeadlineOptions, "clock" | "signal">;

type Method<V extends DriverVerb> = NonNullable<Driver[V]>;
type DriverArgs<V extends DriverVerb> = Parameters<Method<V>> extends [...infer Args, Call] ? Args : never;
type DriverResult<V extends DriverVerb> = Awaited<ReturnType<Method<V>>> | (undefined extends Driver[V] ? undefined : never);
type Callbacks<V extends DriverVerb> = V extends "deploy" | "resolve" ? Omit<DeployCall, "signal"> : unknown;

/**
 * Calls a driver under a deadline, which the progress of a pull extends up to its cap. `args` may be a function: what it prepares counts towards the
 * deadline. Undefined for a verb that the driver does not have. Faults: those of the verb, and of the deadline.
 */
export type CallDriver = <V extends DriverVerb>(
  verb: V,
  args: DriverArgs<V> | ((signal: AbortSignal) => Promise<DriverArgs<V>>),
  options: { deadline: CallDeadline; signal: AbortSignal } & Callbacks<V>,
) => Promise<DriverResult<V>>;

export function createDriverCalls({ driver, clock }: { driver: Driver; clock: Clock }): CallDriver {
  const verbs = driver as Partial<Record<DriverVerb, (...args: never[]) => Promise<unknown>>>;
  return (verb, args, { deadline, signal, ...callbacks }) =>
    callUnderDeadline({ ...deadline, clock, signal }, async (call, extend) => {
      const given: readonly unknown[] = typeof args === "function" ? await args(call) : args;
      call.throwIfAborted();
      return (await verbs[verb]?.(...(given as never[]), { ...deployCallbacks(callbacks, call, extend), signal: call } as never)) as never;
    });
}

/** Progress extends the deadline. After an abort nothing is called any more: what the driver then reports is of a call that is over. */
function deployCallbacks({ onPull, onLaunched, onAddress }: Omit<DeployCall, "signal">, call: AbortSignal, extend: () => void) {
  const whileOpen =
    <Args extends unknown[]>(callback: (...args: Args) => void) =>
    (...args: Args) => {
      if (!call.aborted) callback(...args);
    };
  const progress: DeployCall["onPull"] = (bytes) => {
    extend();
    onPull?.(bytes);
  };
  return {
    onPull: whileOpen(progress),
    ...(onLaunched ? { onLaunched: whileOpen(onLaunched) } : {}),
    ...(onAddress ? { onAddress: whileOpen(onAddress) } : {}),
  };
}

/**
 * After an abort it waits a while for the driver to clean up, so that the next call for the same service does not meet the last one. Then it rejects with
 * the abort's reason, whatever the driver answers.
 */
export async function callUnderDeadline<T>(
  options: DeadlineOptions & { clock: Clock },
  task: (signal: AbortSignal, extend: () => void) => Promise<T>,
): Promise<T> {
  const deadline = openDeadline(options);
  let cancelCleanUp = () => {};
  const abandoned = new Promise<never>((_, reject) => {
    const onAbort = () => (cancelCleanUp = options.clock.after(CLEAN_UP_MS, () => reject(deadline.signal.reason as Error)));
    if (deadline.signal.aborted) onAbort();
    else deadline.signal.addEventListener("abort", onAbort, { once: true });
  });
  try {
    deadline.signal.throwIfAborted();
    return await Promise.race([task(deadline.signal, deadline.extend), abandoned]);
  } catch (error) {
    deadline.signal.throwIfAborted();
    throw error;
  } finally {
    cancelCleanUp();
    deadline.close();
  }
}

/** The writes of a call's callbacks: the driver does not wait for them, and they follow each other. */
export type CallWrites = {
  add(write: () => Promise<unknown>): void;
  /** The result of the call, once they are done; it fails with the first of them that does. */
  finish<R>(call: Promise<R>): Promise<R>;
};

export function createCallWrites(): CallWrites {
  let written: Promise<unknown> = Promise.resolve();
  return {
    add: (write) => {
      written = written.then(write);
      // Whoever waits for it fails with it.
      written.catch(() => undefined);
    },
    finish: async (call) => {
      try {
        return await call;
      } finally {
        await written;
      }
    },
  };
}
