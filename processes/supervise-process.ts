import { type ChildProcess, spawn } from "node:child_process";
import { backoffDelay } from "../lib/backoff.ts";
import type { Clock } from "../lib/clock.ts";
import { Fault, type FaultData } from "../lib/fault.ts";
import type { Log } from "../lib/log.ts";
import type { Count, Snapshot } from "../lib/metrics/open-metrics.ts";
import type { MetricsAggregator } from "../lib/metrics/serve-metrics.ts";
import type { ListeningHandle } from "./listeners.ts";

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

/** What a start tells about the process that it made. `ends`: it ends by itself, as planned, and is to be started again. `isAfterDeath`: the one before died. */
export type StartedProcess = { ready(): void; cannot(fault: Fault): void; ends(): void; isAfterDeath: boolean };

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
  let isPlanned = false;
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
    const delay = isPlanned ? RESTART.firstMs : backoffDelay(RESTART, ++failures);
    if (isPlanned) log.info(why, "process ended as planned, restarting");
    else log.error({ ...why, restartInMs: delay }, sentence);
    started.isAfterDeath = !isPlanned;
    isPlanned = false;
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
    ends: () => void (isPlanned = true),
    isAfterDeath: false,
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
      // Killed on the way, or by force because it hung.
      if (code !== 0) isPlanned = false;
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

/** What a role process tells the process that forked it. */
export type ChildReport =
  | { kind: "ready" }
  | { kind: "fault"; fault: FaultData }
  | { kind: "metrics"; metrics: Snapshot }
  | { kind: "pong" }
  | { kind: "ends" };

/** Messages to it: `listen` comes with the socket to accept on, and says whether a control process runs beside it; `released` that its data is its own now; `metrics` asks what it counted; `ping` whether its event loop runs. */
export type ParentOrder =
  | { kind: "listen"; besideControl: boolean }
  | { kind: "released" }
  | { kind: "end"; handedOver?: boolean }
  | { kind: "metrics" }
  | { kind: "ping" };

/** How long a process may take to say what it counted; one that is busy for longer counts as it was. */
const METRICS_MS = 2_000;
/** How long a process may be silent while it starts: it loads its code, and control checks and migrates the store, without a turn of its event loop. */
const STARTING_MS = 300_000;

/** Keeps one role process running, as `superviseProcess` does; it reports that it is ready, or why it cannot be. */
export function superviseChild(options: {
  role: string;
  /** The program that runs it, as `node <script> <role>`; undefined where this executable is all of berth. */
  script: string | undefined;
  env: NodeJS.ProcessEnv;
  /** Given to it once it is there; until then the process loads what it is made of, and does nothing. */
  handle?: Promise<ListeningHandle>;
  /** A control process runs beside it. */
  besideControl?: boolean;
  /** It gets `released` when this resolves: until then another process has its data. */
  released?: Promise<void>;
  /** Where what it counts is put together with what others do; `restarts` is how often it was started again, `hangs` how often it had hung. */
  metrics?: { gathering: MetricsAggregator; restarts: Count; hangs: Count } | undefined;
  /** A process that answers none of three checks within this time is killed, and started again; in milliseconds. Undefined: no check. */
  watchdogMs?: number | undefined;
  clock: Clock;
  log: Log;
}): SupervisedProcess {
  const { role, clock, metrics, watchdogMs } = options;
  const log = options.log.child({ role });
  const watch = (forked: ChildProcess, everyMs: number) => {
    let isReady = false;
    let answered = () => {};
    forked.on("message", (report: ChildReport) => {
      if (report.kind === "ready") isReady = true;
      if (report.kind === "pong") answered();
    });
    const watchdog = startWatchdog({
      everyMs,
      limit: () => (isReady ? MISSED_CHECKS : Math.max(MISSED_CHECKS, Math.ceil(STARTING_MS / everyMs))),
      ping: () =>
        new Promise((resolve, reject) => {
          answered = resolve;
          const ping: ParentOrder = { kind: "ping" };
          forked.send(ping, (error) => void (error && reject(error)));
        }),
      hung: (silentMs) => {
        metrics?.hangs.add();
        log.error({ pid: forked.pid, silentMs: Math.round(silentMs) }, "process does not answer and is killed");
        // Of a stopped process this is the only signal that ends it.
        forked.kill("SIGKILL");
      },
      clock,
    });
    forked.once("exit", watchdog.stop);
    forked.once("error", () => void (forked.pid === undefined && watchdog.stop()));
  };
  return superviseProcess({
    name: role,
    clock,
    log,
    end: (forked, handedOver) => {
      const end: ParentOrder = { kind: "end", handedOver };
      // One that no message reaches any more ends by itself: its parent is gone, as far as it can see.
      forked.send(end, () => undefined);
    },
    launch: ({ ready, cannot, ends, isAfterDeath }) => {
      // What it prints belongs to the person at the terminal; Ctrl-C there is the parent's to hear.
      const args = options.script === undefined ? [role] : [...process.execArgv, options.script, role];
      const forked = spawn(process.execPath, args, { env: options.env, stdio: ["ignore", "inherit", "inherit", "ipc"], detached: true });
      forked.on("message", (report: ChildReport) => {
        if (report.kind === "ready") ready();
        else if (report.kind === "fault") cannot(Fault.from(report.fault));
        else if (report.kind === "ends") ends();
      });
      if (isAfterDeath) metrics?.restarts.add();
      const left = metrics?.gathering.join(() => requestMetrics(forked, clock));
      forked.once("exit", () => left?.());
      // Of one that could not be started nothing ends.
      forked.once("error", () => void (forked.pid === undefined && left?.()));
      if (watchdogMs !== undefined && forked.pid !== undefined) watch(forked, watchdogMs / MISSED_CHECKS);
      // Without its handle it would wait for ever: its end is seen, and it is started again.
      const listen: ParentOrder = { kind: "listen", besideControl: options.besideControl ?? false };
      const give = (handle: ListeningHandle) => forked.send(listen, handle as never, (error) => void (error && forked.kill("SIGKILL")));
      const released: ParentOrder = { kind: "released" };
      const release = () => void forked.send(released, (error) => void (error && forked.kill("SIGKILL")));
      // The data of most has no other user.
      void (options.released ?? Promise.resolve()).then(release, () => undefined);
      // Where it never comes, the whole start failed, and ends this one.
      options.handle?.then(give, () => undefined);
      return forked;
    },
  });
}

/** The metrics of a process. Rejects if it does not answer in time, or cannot be reached. */
function requestMetrics(child: ChildProcess, clock: Clock): Promise<Snapshot> {
  return new Promise((resolve, reject) => {
    const settle = (act: () => void) => {
      cancel();
      child.off("message", onReport);
      act();
    };
    const onReport = (report: ChildReport) => {
      if (report.kind === "metrics") settle(() => resolve(report.metrics));
    };
    const cancel = clock.after(METRICS_MS, () => settle(() => reject(new Error("it did not say in time what it counted"))));
    child.on("message", onReport);
    const order: ParentOrder = { kind: "metrics" };
    child.send(order, (error) => void (error && settle(() => reject(error))));
  });
}
