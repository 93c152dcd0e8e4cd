import {
  type Call,
  type DeployCall,
  type OwnedCall,
  type Driver,
  type DriverVerb,
  type LogOptions,
  MOST_STOP_GRACE_SECONDS,
  type Observed,
} from "../../drivers/driver.ts";
import type { BackoffRange } from "../../lib/backoff.ts";
import type { Clock } from "../../lib/clock.ts";
import { type DeadlineOptions, openDeadline } from "../../lib/deadline.ts";
import { Fault, type FaultCode, type FaultData } from "../../lib/fault.ts";
import type { Log } from "../../lib/log.ts";
import type { Container } from "../model/entities.ts";

/** A stop or a failed start waits this long for a log tail, and no longer. */
const LOG_TAIL_MS = 1_000;
const LOG_TAIL_LINES = 200;
/** How much of a log tail a container's row keeps, in characters. */
const LONGEST_LOG_TAIL = 65_536;

/** How long a driver may clean up after an abort, before its call is abandoned. */
const CLEAN_UP_MS = 10_000;

type CallDeadline = Omit<DeadlineOptions, "clock" | "signal">;

type Method<V extends DriverVerb> = NonNullable<Driver[V]>;
type DriverArgs<V extends DriverVerb> = Parameters<Method<V>> extends [...infer Args, Call] ? Args : never;
type DriverResult<V extends DriverVerb> = Awaited<ReturnType<Method<V>>> | (undefined extends Driver[V] ? undefined : never);
type Callbacks<V extends DriverVerb> = V extends "deploy" | "resolve"
  ? Omit<DeployCall, "signal">
  : V extends "destroy"
    ? Omit<OwnedCall, "signal">
    : unknown;

/**
 * Calls a driver under a deadline, which the progress of a pull extends up to its cap. `args` may be a function: what it prepares counts towards the
 * deadline. Undefined for a verb that the driver does not have. Faults: those of the verb, and of the deadline.
 */
export type CallDriver = <V extends DriverVerb>(
  verb: V,
  args: DriverArgs<V> | ((signal: AbortSignal) => Promise<DriverArgs<V>>),
  options: { deadline: CallDeadline; signal: AbortSignal } & Callbacks<V>,
) => Promise<DriverResult<V>>;

/** What the lifecycle asks of the orchestrator, each with its deadline. Faults: ENGINE_UNREACHABLE, ENGINE_FAILED. */
export type ContainerEngine = {
  call: CallDriver;
  /** That images are pulled to it, so that one can be pulled before its start. */
  pulls: boolean;
  /** The observed state of the row's service; undefined where there is none, or where it is not this container's. */
  observe(row: Pick<Container, "id" | "service">, signal: AbortSignal): Promise<Observed | undefined>;
  /** Everything with berth's labels, of whichever store. */
  list(signal: AbortSignal): Promise<Observed[]>;
  /**
   * Stops and removes the service of a container, within `deadline` if that is given. Succeeds where its name is another owner's, such as a second store of the
   * same containers: then nothing of this container runs. `store`: its own, if it is not this one.
   */
  destroy(of: Pick<Container, "id" | "service"> & { store?: string }, signal: AbortSignal, deadline?: CallDeadline): Promise<void>;
  /** Of the row's service. Empty where it cannot be read soon, or is another owner's: no step fails for it. `timestamps`: as in `LogOptions`. */
  logTail(row: Pick<Container, "id" | "service">, signal: AbortSignal, options?: Pick<LogOptions, "timestamps">): Promise<string>;
};

export type ContainerEngineDeps = {
  driver: Driver;
  clock: Clock;
  /** As in `LifecycleLimits`. */
  limits: { callMs: number; statusMs: number; lookRetry: BackoffRange };
  storeId: string;
  log: Pick<Log, "warn">;
};

export function createContainerEngine({ driver, clock, limits, storeId, log }: ContainerEngineDeps): ContainerEngine {
  const call = createDriverCalls({ driver, clock });
  const within = (ms: number, what: string) => ({
    ms,
    overdue: () =>
      new Fault("ENGINE_UNREACHABLE", `The container engine did not ${what} within ${Math.round(ms / 1_000)} s.`, {
        retryAfterMs: limits.lookRetry.firstMs,
      }),
  });
  return {
    call,
    pulls: driver.pulls === true,
    observe: async ({ id, service }, signal) => {
      const observed = await call("inspect", [service], { deadline: within(limits.callMs, "answer"), signal });
      return observed && observed.labels.store === storeId && observed.labels.container === id ? observed : undefined;
    },
    list: (signal) => call("list", [], { deadline: within(limits.callMs, "list its containers"), signal }),
    destroy: async ({ id, service, store = storeId }, signal, deadline) => {
      const limit = deadline ?? within(limits.statusMs + MOST_STOP_GRACE_SECONDS * 1_000, `remove ${service}`);
      try {
        await call("destroy", [service], { deadline: limit, signal, owner: { store, container: id } });
      } catch (error) {
        if (!(error instanceof Fault) || error.code !== "SPEC_REFUSED") throw error;
        const holder = await call("inspect", [service], { deadline: within(limits.callMs, "answer"), signal });
        if (holder === undefined) return;
        if (holder.labels.store === store && holder.labels.container === id) throw error;
        log.warn({ container: id, service, reason: error.message }, "service of another owner left as it is");
      }
    },
    logTail: ({ id, service }, signal, { timestamps = false } = {}) => {
      const read = async (stop: AbortSignal) => {
        let text = "";
        const call = { signal: stop, owner: { store: storeId, container: id } };
        for await (const piece of driver.logs(service, { tail: LOG_TAIL_LINES, timestamps }, call)) text = cutLogTail(text + piece);
        return text;
      };
      return callUnderDeadline({ ...within(LOG_TAIL_MS, "return the log tail"), clock, signal }, read).catch(() => "");
    },
  };
}

/** The end of a log, which explains the failure. A container may write lines of any length. */
export function cutLogTail(text: string, characters = LONGEST_LOG_TAIL): string {
  return text.slice(-characters);
}

/** The log tail of a service as a fault holds it: the oldest line first, each with its time where the orchestrator knows it. */
export async function logTailLines(
  engine: Pick<ContainerEngine, "logTail">,
  row: Pick<Container, "id" | "service">,
  signal: AbortSignal,
): Promise<string[]> {
  return linesOfTail(await engine.logTail(row, signal, { timestamps: true }));
}

export function linesOfTail(tail: string): string[] {
  return tail.split("\n").filter((line) => line !== "");
}

function createDriverCalls({ driver, clock }: { driver: Driver; clock: Clock }): CallDriver {
  const verbs = driver as Partial<Record<DriverVerb, (...args: never[]) => Promise<unknown>>>;
  return (verb, args, { deadline, signal, ...callbacks }) =>
    callUnderDeadline({ ...deadline, clock, signal }, async (call, extend) => {
      const given: readonly unknown[] = typeof args === "function" ? await args(call) : args;
      call.throwIfAborted();
      const { owner } = callbacks as Partial<OwnedCall>;
      const options = { ...deployCallbacks(callbacks, call, extend), ...(owner ? { owner } : {}), signal: call };
      return (await verbs[verb]?.(...(given as never[]), options as never)) as never;
    });
}

/**
 * Progress extends the deadline. After an abort, what the driver reports is of a call that is over. Only addresses count then too: what it started is there
 * until it is removed, and no other container may be sent requests there.
 */
function deployCallbacks(
  { onPull, onLaunched, onAddresses, onHealthStatus, onLookup }: Omit<DeployCall, "signal">,
  call: AbortSignal,
  extend: () => void,
) {
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
    ...(onAddresses ? { onAddresses } : {}),
    ...(onHealthStatus ? { onHealthStatus: whileOpen(onHealthStatus) } : {}),
    ...(onLookup ? { onLookup: whileOpen(onLookup) } : {}),
  };
}

/**
 * After an abort it waits a while for the driver to clean up, so that the next call for the same service does not meet the last one. Then it rejects with
 * the abort's reason, whatever the driver answers.
 */
async function callUnderDeadline<T>(
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

/** The long driver calls in progress (a deploy, a resolve), so that a request can abort one at once. One per key, as the queue has one worker. */
export type InFlightOperations = {
  /** Runs `task` under a signal that also aborts by `abort(key)`, of one key or any of several. `generation` is what it deploys, or since when an image waits for it (epoch ms). */
  run<T>(key: string | readonly string[], generation: number, signal: AbortSignal, task: (signal: AbortSignal) => Promise<T>): Promise<T>;
  /** Undefined where none is in progress. */
  generation(key: string): number | undefined;
  abort(key: string, reason: Error): void;
  /** How many calls of `abort` there were, of whatever key: since the same number none was aborted, also none that had not begun yet. */
  aborts(): number;
};

export function createInFlightOperations(): InFlightOperations {
  const operations = new Map<string, { generation: number; stop: AbortController }>();
  let aborts = 0;
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
    abort: (key, reason) => {
      aborts++;
      operations.get(key)?.stop.abort(reason);
    },
    aborts: () => aborts,
  };
}

/** The writes of a call's callbacks: the driver does not wait for them, and they follow each other. */
type CallWrites = {
  add(write: () => Promise<unknown>): void;
  /** The result of the call, once they are done; it fails with the first of them that does. */
  finish<R>(call: Promise<R>): Promise<R>;
};

export function createCallWrites(): CallWrites {
  let written: Promise<unknown> = Promise.resolve();
  return {
    add: (write) => {
      written = written.then(write);
      // `finish` fails with it.
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

/** What is wrong with the engine rather than with what it runs: no container causes it, and it ends when the engine works again. */
const TROUBLE: ReadonlySet<FaultCode> = new Set(["ENGINE_UNREACHABLE", "ENGINE_FAILED"]);
/** How much of a log tail a fault carries to every gateway, in characters. */
export const LONGEST_FAULT_LOGS = 4_096;

export function isEngineTrouble(code: FaultCode | undefined): boolean {
  return code !== undefined && TROUBLE.has(code);
}

/** The orchestrator did not answer a call in time. It may still do so: what was requested is repeated, and fails only at its own limit. */
export function isUnanswered({ code, retryAfterMs }: Pick<Fault, "code" | "retryAfterMs">): boolean {
  return code === "ENGINE_UNREACHABLE" && retryAfterMs !== undefined;
}

/** What is stored of an error: a fault as it is. Anything else is a bug, which is logged here and stored without detail. */
export function asFault(error: unknown, log: Log): Fault {
  if (error instanceof Fault) return error;
  log.error({ err: error }, "unexpected error");
  return new Fault("INTERNAL", "An internal error occurred.", { cause: error });
}

/** A fault as it is stored and published: with its newest lines only. */
export function cutFaultLogs(fault: FaultData): FaultData {
  if (!fault.logs?.length) return fault;
  return { ...fault, logs: fault.logs.join("\n").slice(-LONGEST_FAULT_LOGS).split("\n") };
}
