import type { ChildProcess } from "node:child_process";
import type { Clock } from "../lib/clock.ts";
import { backoffDelay } from "../lib/backoff.ts";
import { Fault } from "../lib/fault.ts";
import type { Log } from "../lib/log.ts";

export type SupervisedProcess = {
  /** Sends it a signal, where it runs. */
  tell(signal: NodeJS.Signals): void;
  /** Resolves when it is ready for the first time; rejects with the fault that kept it from starting. */
  ready: Promise<void>;
  /**
   * Asks it to finish, and resolves once it is gone: by force after `graceMs`. Where it is not ready yet, it never will be. `handedOver`: others
   * accept connections in its place already.
   */
  stop(graceMs: number, handedOver?: boolean): Promise<void>;
};

/** What a start tells about the process that it made. */
export type StartedProcess = { ready(): void; cannot(fault: Fault): void };

const RESTART = { firstMs: 100, longestMs: 10_000 };
/** A process that was ready for this long starts its back-off anew: only a crash loop waits longer than `FIRST_RESTART_MS`. */
const STABLE_MS = 10_000;
/** So many deaths in a row before it was ever ready are no accident; `ready` rejects then, and the restarts go on. */
const FIRST_TRIES = 5;

/**
 * Keeps one process running: a process that dies, also during its start, is started again with back-off. `ready` rejects if the process reports why it
 * cannot start the first time, if the machine cannot start it, or after five deaths. `launch` may throw if the machine has no resources; `end` requests
 * the end, as SIGTERM does.
 */
export function superviseProcess(options: {
  name: string;
  launch(started: StartedProcess): ChildProcess;
  end?(child: ChildProcess, handedOver: boolean): void;
  clock: Clock;
  log: Log;
}): SupervisedProcess {
  const { name, launch, end = (child) => void child.kill("SIGTERM"), clock, log } = options;
  let child: ChildProcess | undefined;
  let stopping = false;
  let everReady = false;
  /** The first start failed with a reason that another try does not change. */
  let isRefused = false;
  let deaths = 0;
  let readyAt: number | undefined;
  let failures = 0;
  let cancelRestart = () => {};
  let whenGone: () => void = () => {};
  const first = Promise.withResolvers<void>();

  const over = (why: Record<string, unknown>, sentence: string, fault: Fault) => {
    child = undefined;
    whenGone();
    if (!everReady && (stopping || ++deaths >= FIRST_TRIES)) first.reject(fault);
    if (stopping || isRefused) return;
    if (readyAt !== undefined && clock.monotonic() - readyAt > STABLE_MS) failures = 0;
    readyAt = undefined;
    const delay = backoffDelay(RESTART, ++failures);
    log.error({ ...why, restartInMs: delay }, sentence);
    cancelRestart = clock.after(delay, start);
  };

  const started: StartedProcess = {
    ready: () => {
      everReady = true;
      readyAt = clock.monotonic();
      first.resolve();
    },
    cannot: (fault) => {
      if (everReady) log.error({ fault: fault.toJSON() }, "a process cannot start again");
      else isRefused = true;
      first.reject(fault);
    },
  };

  const start = () => {
    // The machine may have no memory or no process left: Node throws or emits an error.
    const unable = (cause: unknown) => {
      const fault = new Fault("INTERNAL", `The ${name} process cannot be started.`, { cause });
      if (!everReady && deaths === 0) {
        isRefused = true;
        first.reject(fault);
      }
      over({ err: cause }, "a process cannot be started, which is tried again", fault);
    };
    let launched: ChildProcess;
    try {
      launched = launch(started);
    } catch (cause) {
      return unable(cause);
    }
    child = launched;
    // Of a process that runs, it says that a message did not reach it; then it ends, or did already.
    launched.on("error", (cause) => {
      if (launched.pid === undefined) unable(cause);
    });
    launched.once("exit", (code, signal) => {
      const fault = new Fault("INTERNAL", `The ${name} process ended with ${signal ?? `code ${code}`} before it was ready.`);
      over({ code, signal }, "a process died and is started again", fault);
    });
  };
  start();
  first.promise.catch(() => {});

  return {
    tell: (signal) => void child?.kill(signal),
    ready: first.promise,
    stop: async (graceMs, handedOver = false) => {
      stopping = true;
      cancelRestart();
      const running = child;
      if (!running) return;
      const gone = new Promise<void>((resolve) => (whenGone = resolve));
      end(running, handedOver);
      const cancelKill = clock.after(graceMs, () => running.kill("SIGKILL"));
      await gone;
      cancelKill();
    },
  };
}

/** How many checks in a row a process may leave unanswered; the next one is its end. */
export const MISSED_CHECKS = 3;

type WatchdogOptions = {
  /** Time between two checks, in milliseconds. */
  everyMs: number;
  /** The unanswered checks after which the process counts as hung. */
  limit(): number;
  /** Resolves when the process answers; rejects where it cannot be reached. At most one is pending. */
  ping(): Promise<void>;
  /** Called once, with the milliseconds since the last answer. */
  hung(silentMs: number): void;
  clock: Clock;
};

/**
 * Asks a process again and again whether its event loop runs. A check that comes late itself proves nothing: the whole machine was
 * suspended, or so busy that this process did not run either. It starts the count anew.
 */
export function startWatchdog({ everyMs, limit, ping, hung, clock }: WatchdogOptions): { stop(): void } {
  let answeredAt = clock.monotonic();
  let dueAt = answeredAt;
  let missed = 0;
  let state: "answered" | "pending" | "failed" = "answered";
  let cancel = () => {};
  let stopped = false;

  const check = () => {
    const now = clock.monotonic();
    const isLate = now - dueAt > everyMs / 2;
    missed = isLate || state === "answered" ? 0 : missed + 1;
    if (missed >= limit()) return hung(now - answeredAt);
    if (state !== "pending") {
      state = "pending";
      ping().then(
        () => {
          answeredAt = clock.monotonic();
          return void (state = "answered");
        },
        () => void (state = "failed"),
      );
    }
    if (stopped) return undefined;
    dueAt = now + everyMs;
    cancel = clock.after(everyMs, check);
    return undefined;
  };
  check();
  return {
    stop: () => {
      stopped = true;
      cancel();
    },
  };
}
