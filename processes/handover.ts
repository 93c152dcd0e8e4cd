import { spawn } from "node:child_process";
import type { Clock } from "../lib/clock.ts";
import { Fault } from "../lib/fault.ts";
import type { Log } from "../lib/log.ts";
import type { ListeningHandle } from "./listeners.ts";

/** From the start of the new program until its settings are read. */
const PREPARED_MS = 60_000;
/** From the end of the old control process until the new berth takes requests: it may have a store to migrate. */
const READY_MS = 300_000;
/** From its end until its last report was read. */
const LAST_REPORT_MS = 200;

/** A berth that was started to take over the listening sockets of this one. */
type Successor = {
  /** Reports that the old process of this role has ended. */
  release(role: string): void;
  /** Resolves with its version once it takes requests. Faults: PROGRAM_UNUSABLE, at once where it ends before that. */
  ready: Promise<string>;
  kill(): void;
};

/**
 * Starts the new program with the environment of this one, and passes the listening sockets on: both
 * berths accept from the same queues, so that no connection is refused in between. Resolves once it has read its settings; nothing of this berth has
 * changed until then. Faults: PROGRAM_UNUSABLE.
 */
export async function startSuccessor(options: {
  /** The new program; where undefined, what lies where this one was started from. */
  program: string | undefined;
  script: string | undefined;
  env: NodeJS.ProcessEnv;
  listeners: ReadonlyMap<string, ListeningHandle>;
  clock: Clock;
}): Promise<Successor> {
  const { program, script, env, listeners, clock } = options;
  const own = script === undefined ? ["serve"] : [...process.execArgv, script, "serve"];
  const child = spawn(program ?? process.execPath, program === undefined ? own : ["serve"], {
    env: { ...env, [HANDOVER_NAME]: String(process.pid) },
    stdio: ["ignore", "inherit", "inherit", "ipc"],
    // Signals to this one's process group are not for it.
    detached: true,
  });
  const prepared = Promise.withResolvers<void>();
  const ready = Promise.withResolvers<string>();
  const fail = (why: string, cause?: unknown) => {
    const fault = new Fault("PROGRAM_UNUSABLE", why, { cause });
    prepared.reject(fault);
    ready.reject(fault);
  };
  prepared.promise.catch(() => undefined);
  ready.promise.catch(() => undefined);
  child.once("error", (cause) => fail(`The new program cannot be started: ${cause.message}.`, cause));
  child.once("exit", (code, signal) => {
    const why = `The new program ended with ${signal ?? `code ${code}`} before it took requests: see the log.`;
    // Its last message may arrive after its end.
    clock.after(LAST_REPORT_MS, () => fail(why));
  });
  child.on("message", (report: SuccessorReport) => {
    if (report.kind === "prepared") prepared.resolve();
    else if (report.kind === "ready") ready.resolve(report.version);
    else fail(`The new program does not start: ${report.message}`);
  });
  const tell = (order: PredecessorOrder, handle?: ListeningHandle) => void child.send(order, handle as never, () => undefined);
  if (child.pid !== undefined) {
    for (const [name, handle] of listeners) tell({ kind: "listener", name }, handle);
    tell({ kind: "listeners" });
  }
  const within = async <T>(promise: Promise<T>, ms: number, what: string): Promise<T> => {
    const cancel = clock.after(ms, () => {
      fail(`The new program did not ${what} within ${ms / 1_000} s.`);
      child.kill("SIGKILL");
    });
    return promise.finally(cancel);
  };
  await within(prepared.promise, PREPARED_MS, "read its settings");
  return {
    release: (role) => tell({ kind: "released", role }),
    ready: within(ready.promise, READY_MS, "take requests"),
    kill: () => void child.kill("SIGKILL"),
  };
}

/** How long a berth that could not hand over waits for the old program to be put back, before it starts its control again; and between two attempts. */
const RESUME_MS = 10_000;

/**
 * Has a berth that could not hand over go on by itself, as often as it takes: what is left of the new one may still hold the data, for as long as it migrates the
 * store, and ends only then. `isHandingOver`: the next upgrade has begun, and has the data.
 */
export function resumeLater(deps: { resume(): Promise<void>; isHandingOver(): boolean; clock: Pick<Clock, "after">; log: Pick<Log, "error"> }): void {
  const { resume, isHandingOver, clock, log } = deps;
  clock.after(RESUME_MS, () => {
    if (isHandingOver()) return;
    resume().catch((error: unknown) => {
      log.error({ err: error, retryInMs: RESUME_MS }, "control does not start again");
      resumeLater(deps);
    });
  });
}

/**
 * What one berth tells the berth that takes over from it. `listener` comes with a listening socket, `listeners` after the last of them; `released`: the
 * old process of this role has ended, so that the new one may have its data.
 */
type PredecessorOrder = { kind: "listener"; name: string } | { kind: "listeners" } | { kind: "released"; role: string };

/** What the new one tells the old one. `prepared`: its settings are good, and its processes load their code. */
type SuccessorReport = { kind: "prepared" } | { kind: "ready"; version: string } | { kind: "fault"; message: string };

/** The variable by which a process knows that the one that forked it hands over to it; its value is that one's process id. */
export const HANDOVER_NAME = "HANDOVER_FROM";

/** The berth that hands over to this one. */
export type Predecessor = {
  /** Its listening sockets: `edge`, `registry`, `spawner`, `console`, `metrics`. */
  listeners: ReadonlyMap<string, ListeningHandle>;
  /** Resolves once the old process of this role has ended. */
  released(role: string): Promise<void>;
  /** Resolves once it was sent. */
  report(report: SuccessorReport): Promise<void>;
};

/** Undefined where no process hands over. Sockets come over the channel, since those that are inherited would be inherited by containers, too. */
export async function findPredecessor(env: NodeJS.ProcessEnv): Promise<Predecessor | undefined> {
  if (env[HANDOVER_NAME] === undefined || !process.send) return undefined;
  const listeners = new Map<string, ListeningHandle>();
  const released = new Map<string, PromiseWithResolvers<void>>();
  const of = (role: string) => {
    const release = released.get(role) ?? Promise.withResolvers<void>();
    released.set(role, release);
    return release;
  };
  const all = Promise.withResolvers<void>();
  let isReady = false;
  // The old process gave up, or died: it keeps its sockets and data.
  process.once("disconnect", () => isReady || process.exit(1));
  process.on("message", (order: PredecessorOrder, sent) => {
    if (order.kind === "released") of(order.role).resolve();
    else if (order.kind === "listeners") all.resolve();
    else if (sent) listeners.set(order.name, sent as unknown as ListeningHandle);
  });
  await all.promise;
  return {
    listeners,
    released: (role) => of(role).promise,
    report: (report) => {
      isReady ||= report.kind === "ready";
      return new Promise((resolve) => void (process.connected ? process.send?.(report, () => resolve()) : resolve()));
    },
  };
}
