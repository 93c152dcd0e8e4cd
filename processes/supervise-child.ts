import { type ChildProcess, spawn } from "node:child_process";
import type { Clock } from "../lib/clock.ts";
import { Fault, type FaultData } from "../lib/fault.ts";
import type { Log } from "../lib/log.ts";
import type { Count, Snapshot } from "../lib/metrics/open-metrics.ts";
import type { MetricsAggregator } from "../lib/metrics/serve-metrics.ts";
import { type SupervisedProcess, superviseProcess, MISSED_CHECKS, startWatchdog } from "./supervise-process.ts";
import type { ListeningHandle } from "./listening-handle.ts";

/** What a role process tells the process that forked it. */
export type ChildReport = { kind: "ready" } | { kind: "fault"; fault: FaultData } | { kind: "metrics"; metrics: Snapshot } | { kind: "pong" };

/** Messages to it: `listen` comes with the socket to accept on; `released` that its data is its own now; `metrics` asks what it counted; `ping` whether its event loop runs. */
export type ParentOrder = { kind: "listen" } | { kind: "released" } | { kind: "end"; handedOver?: boolean } | { kind: "metrics" } | { kind: "ping" };

/** How long a process may take to say what it counted; one that is busy for longer counts as it was. */
const METRICS_MS = 2_000;
/** How long a process may be silent while it starts: it loads its code, and control checks and migrates the store, without a turn of its event loop. */
const STARTING_MS = 300_000;

/** Keeps one role process running, as `keepRunning` does; it says itself that it is ready, or why it cannot be. */
export function superviseChild(options: {
  role: string;
  /** The program that runs it, as `node <script> <role>`; undefined where this executable is all of berth. */
  script: string | undefined;
  env: NodeJS.ProcessEnv;
  /** Given to it once it is there; until then the process loads what it is made of, and does nothing. */
  handle?: Promise<ListeningHandle>;
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
  let starts = 0;
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
    launch: ({ ready, cannot }) => {
      // What it prints belongs to the person at the terminal; Ctrl-C there is the parent's to hear.
      const args = options.script === undefined ? [role] : [...process.execArgv, options.script, role];
      const forked = spawn(process.execPath, args, { env: options.env, stdio: ["ignore", "inherit", "inherit", "ipc"], detached: true });
      forked.on("message", (report: ChildReport) => {
        if (report.kind === "ready") ready();
        else if (report.kind === "fault") cannot(Fault.from(report.fault));
      });
      if (starts++ > 0) metrics?.restarts.add();
      const left = metrics?.gathering.join(() => requestMetrics(forked, clock));
      forked.once("exit", () => left?.());
      // Of one that could not be started nothing ends.
      forked.once("error", () => void (forked.pid === undefined && left?.()));
      if (watchdogMs !== undefined && forked.pid !== undefined) watch(forked, watchdogMs / MISSED_CHECKS);
      // Without its handle it would wait for ever: its end is seen, and it is started again.
      const listen: ParentOrder = { kind: "listen" };
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
