import { fork, type ChildProcess } from "node:child_process";
import type { Clock } from "../clock.ts";
import { Fault, type FaultData } from "../fault.ts";
import type { Log } from "../log.ts";
import type { ListeningHandle } from "./listening-handle.ts";

/** What a role process tells the process that forked it. */
export type ChildReport = { kind: "ready" } | { kind: "fault"; fault: FaultData };

export type Child = {
  /** Sends it a signal, where it runs. */
  tell(signal: NodeJS.Signals): void;
  /** Resolves when it is ready for the first time; rejects with the fault that kept it from starting. */
  ready: Promise<void>;
  /** Asks it to finish, and resolves once it is gone: by force after `graceMs`. */
  stop(graceMs: number): Promise<void>;
};

const FIRST_RESTART_MS = 100;
const LONGEST_RESTART_MS = 10_000;
/** A child that stayed up for this long starts its back-off anew. */
const STABLE_MS = 30_000;

/**
 * Keeps one role process running: a child that dies after it was ready is started again with back-off; one that cannot
 * start the first time ends the whole start.
 */
export function keepChild(options: {
  role: string;
  /** The program that runs it, as `node <script> <role>`. */
  script: string;
  env: NodeJS.ProcessEnv;
  handle?: ListeningHandle;
  clock: Clock;
  log: Log;
}): Child {
  const { role, clock } = options;
  const log = options.log.child({ role });
  let child: ChildProcess | undefined;
  let stopping = false;
  let everReady = false;
  let delay = FIRST_RESTART_MS;
  let cancelRestart = () => {};
  let whenGone: () => void = () => {};
  const first = Promise.withResolvers<void>();

  const over = (startedAt: number, why: Record<string, unknown>, sentence: string, fault: Fault) => {
    child = undefined;
    whenGone();
    if (stopping) return;
    if (!everReady) return first.reject(fault);
    if (clock.monotonic() - startedAt > STABLE_MS) delay = FIRST_RESTART_MS;
    log.error({ ...why, restartInMs: delay }, sentence);
    cancelRestart = clock.after(delay, launch);
    delay = Math.min(delay * 2, LONGEST_RESTART_MS);
  };

  const launch = () => {
    const startedAt = clock.monotonic();
    // The machine may have no memory or no process left; some of it is thrown, some told.
    const unable = (cause: unknown) => {
      const fault = new Fault("INTERNAL", `The ${role} process cannot be started.`, { cause });
      over(startedAt, { err: cause }, "a process cannot be started, which is tried again", fault);
    };
    let forked: ChildProcess;
    try {
      // What it prints belongs to the person at the terminal; its own signals come by message, so that Ctrl-C is handled once.
      forked = fork(options.script, [role], { env: options.env, stdio: ["ignore", "inherit", "inherit", "ipc"], detached: true });
    } catch (cause) {
      return unable(cause);
    }
    child = forked;
    forked.on("message", (report: ChildReport) => {
      if (report.kind === "ready") {
        everReady = true;
        return first.resolve();
      }
      if (everReady) log.error({ fault: report.fault }, "a process cannot start again");
      first.reject(Fault.from(report.fault));
    });
    // Of a process that runs, it says that a message did not reach it; then it ends, or did already.
    forked.on("error", (cause) => {
      if (forked.pid === undefined) unable(cause);
    });
    forked.once("exit", (code, signal) => {
      const fault = new Fault("INTERNAL", `The ${role} process ended with ${signal ?? `code ${code}`} before it was ready.`);
      over(startedAt, { code, signal }, "a process died and is started again", fault);
    });
    // Without its handle it would wait for ever: its end is seen, and it is started again.
    if (options.handle) forked.send({ kind: "listen" }, options.handle as never, (error) => void (error && forked.kill("SIGKILL")));
  };
  launch();
  first.promise.catch(() => {});

  return {
    tell: (signal) => void child?.kill(signal),
    ready: first.promise,
    stop: async (graceMs) => {
      stopping = true;
      cancelRestart();
      const running = child;
      if (!running) return;
      const gone = new Promise<void>((resolve) => (whenGone = resolve));
      running.kill("SIGTERM");
      const cancelKill = clock.after(graceMs, () => running.kill("SIGKILL"));
      await gone;
      cancelKill();
    },
  };
}
