import { spawn } from "node:child_process";
import { chmodSync, renameSync, rmSync, readFileSync, writeFileSync } from "node:fs";
import { createInterface } from "node:readline";
import type { Clock } from "../../lib/clock.ts";
import type { Log } from "../../lib/log.ts";
import { parseJson } from "../../lib/parse-json.ts";
import { type SupervisedProcess, superviseProcess, MISSED_CHECKS, startWatchdog } from "../supervise-process.ts";
import type { DistributionProgram } from "./distribution-program.ts";
import { withTimeout } from "../../lib/deadline.ts";
import { type HttpFailure, requestSocket } from "../../lib/http-client.ts";
import { Fault } from "../../lib/fault.ts";
import { join } from "node:path";

/** From its start to its first answer: 0.2 s on an idle machine. */
const HEALTHY_MS = 20_000;
const POLL_MS = 25;
const ANSWER_MS = 2_000;
const MAX_BYTES = 65_536;

/**
 * Keeps one Distribution running. It listens on `listen`. When it answers there, a rename moves its socket to `socket`: clients reach a process that is
 * ready, and another one can take over without a gap.
 */
export function superviseDistribution(options: {
  distribution: DistributionProgram;
  configFile: string;
  pidFile: string;
  listen: string;
  socket: string;
  /** As in `superviseChild`; checked over its socket. */
  watchdogMs: number | undefined;
  clock: Clock;
  log: Log;
}): SupervisedProcess {
  const { distribution, configFile, pidFile, listen, socket, watchdogMs, clock, log } = options;
  return superviseProcess({
    name: "registry",
    clock,
    log,
    launch: ({ ready, cannot }) => {
      rmSync(listen, { force: true });
      const { file, args, env, end } = distribution.command;
      const child = spawn(file, [...args, "serve", configFile], {
        env,
        stdio: ["ignore", "pipe", "pipe"],
        detached: true,
      });
      for (const output of [child.stdout, child.stderr]) createInterface({ input: output }).on("line", (line) => forwardLog(line, log));
      const over = new AbortController();
      child.once("exit", () => over.abort());
      child.once("error", () => over.abort());
      if (child.pid === undefined) return child;
      // Whatever ends this process, short of a kill, it does not outlive it.
      const endIt = () => void child.kill(end);
      process.once("exit", endIt);
      child.once("exit", () => process.off("exit", endIt));
      rememberProcess(pidFile, child.pid);
      const isReady = () => {
        chmodSync(listen, 0o600);
        renameSync(listen, socket);
        ready();
        if (watchdogMs !== undefined) watch(watchdogMs / MISSED_CHECKS);
      };
      /** Another one may have taken the socket over by then, and this one is to end: what answers there is checked all the same. */
      const watch = (everyMs: number) => {
        const watchdog = startWatchdog({
          everyMs,
          limit: () => MISSED_CHECKS,
          ping: async () => {
            if (!(await isHealthy(socket, clock, everyMs))) throw new Fault("REGISTRY_FAILED", "The registry does not answer.");
          },
          hung: (silentMs) => {
            log.error({ pid: child.pid, silentMs: Math.round(silentMs) }, "process does not answer and is killed");
            child.kill("SIGKILL");
          },
          clock,
        });
        over.signal.addEventListener("abort", watchdog.stop, { once: true });
      };
      const isNot = (cause: unknown) => {
        if (over.signal.aborted) return;
        log.error({ err: cause }, "the registry does not become ready");
        cannot(new Fault("REGISTRY_FAILED", "The registry does not become ready.", { cause }));
        child.kill(end);
      };
      void untilHealthy(listen, clock, over.signal).then(isReady).catch(isNot);
      return child;
    },
  });
}

/** Rejects once `over` aborts, or when it took too long. */
async function untilHealthy(socketPath: string, clock: Clock, over: AbortSignal): Promise<void> {
  const overdue = () => new Error(`no answer within ${HEALTHY_MS / 1_000} s`);
  await withTimeout({ clock, ms: HEALTHY_MS, overdue, signal: over }, async (signal) => {
    while (!(await isHealthy(socketPath, clock))) await clock.sleep(POLL_MS, signal);
  });
}

async function isHealthy(socketPath: string, clock: Clock, timeoutMs = ANSWER_MS): Promise<boolean> {
  const toFault = ({ why, cause }: HttpFailure) => new Fault("REGISTRY_FAILED", `The registry does not answer: ${why}.`, { cause });
  const client = { socketPath, clock, maxBytes: MAX_BYTES, timeoutMs, toFault };
  const reply = await requestSocket(client, { url: "http://localhost/v2/" }).catch(() => undefined);
  return reply?.status === 200;
}

/** A line that is no JSON is a panic or a mistake in its start; longer ones are cut. */
const LONGEST_LINE = 4_096;

/** What each of its lines says anew, or our own line does. */
const LEFT_OUT = ["time", "level", "msg", "go.version", "instance.id", "version", "environment", "service"];

/**
 * Writes a line of Distribution's log at its own level. Lines about single requests are for debugging: a blob that a client looks up before its push is an
 * error for Distribution, and the client has the response.
 */
function forwardLog(line: string, log: Log): void {
  const entry = parseLogLine(line);
  if (!entry) return log.warn({}, line.slice(0, LONGEST_LINE));
  const { level, msg } = entry;
  const fields = Object.fromEntries(Object.entries(entry).filter(([name]) => !LEFT_OUT.includes(name)));
  const sentence = String(msg).slice(0, LONGEST_LINE);
  if (isOrdinary(entry)) return log.debug(fields, sentence);
  if (level === "error" || level === "fatal" || level === "panic") return log.error(fields, sentence);
  if (level === "warning" || level === "warn") return log.warn(fields, sentence);
  if (level === "info") return log.info(fields, sentence);
  log.debug(fields, sentence);
}

function isOrdinary(entry: Record<string, unknown>): boolean {
  if (entry["http.request.method"] === undefined) return false;
  const status = entry["http.response.status"];
  // Of a failure of its own it says the status; without one the line is about what the client sent.
  return typeof status !== "number" || status < 500;
}

function parseLogLine(line: string): Record<string, unknown> | undefined {
  const entry = parseJson(line);
  return typeof entry === "object" && entry !== null && "msg" in entry ? entry : undefined;
}

/** What may run on a registry's folder. */
const PROCESSES = ["writable", "readonly", "garbage"] as const;

/** The file that says which process it is. */
export function processFile(folder: string, name: (typeof PROCESSES)[number]): string {
  return join(folder, `${name}.pid`);
}

/** Ends all that is left on a folder that is ours: above all what collects garbage, before anything is pushed again. Returns their ids. */
export function endLeftovers(folder: string): number[] {
  return PROCESSES.map((name) => endLeftover(processFile(folder, name))).filter((pid) => pid !== undefined);
}

/**
 * A registry process outlives a berth that is killed: the next one on the same folder ends it by what the file says. A process is known
 * by its id and the tick in which it began, so that no other that got the same id is meant. Without /proc nothing is known and nothing done.
 */
export function rememberProcess(file: string, pid: number): void {
  writeFileSync(file, JSON.stringify({ pid, began: beganAt(pid) }), { mode: 0o600 });
}

/** No client uses it any more, so it may end at once. Returns its id if there was one. */
function endLeftover(file: string): number | undefined {
  const { pid, began } = readFile(file);
  rmSync(file, { force: true });
  if (pid === undefined || began === undefined || beganAt(pid) !== began) return undefined;
  try {
    process.kill(pid, "SIGKILL");
    return pid;
  } catch {
    // It ended by itself just now.
    return undefined;
  }
}

/** Clock ticks since the machine started: field 22 of proc(5), counted behind the name, which may hold spaces. */
function beganAt(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    return stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19];
  } catch {
    return undefined;
  }
}

function readFile(file: string): { pid?: number; began?: string } {
  try {
    return JSON.parse(readFileSync(file, "utf8")) as { pid?: number; began?: string };
  } catch {
    return {};
  }
}
