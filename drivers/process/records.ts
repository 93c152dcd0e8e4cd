import { mkdirSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join, resolve } from "node:path";
import { createBackoff } from "../../lib/backoff.ts";
import type { Clock } from "../../lib/clock.ts";
import { parseJson } from "../../lib/parse-json.ts";
import { replaceFile } from "../../lib/replace-file.ts";
import { type Labels, STOP_GRACE_SECONDS } from "../driver.ts";
import { isServiceName, refuseBadName } from "../labels.ts";

/** The record of a service, by which another berth adopts it. Its process writes its own identity beside it. */
type ProcessRecord = {
  service: string;
  labels: Labels;
  port?: number | undefined;
  /** Records of an older berth have none. */
  shutdownGraceSeconds?: number | undefined;
  boot: string;
  /** Random, for this instance. Records of an older berth have none. */
  claim?: string | undefined;
  /** Known only if it ended before the berth that started it. */
  exitCode?: number | undefined;
};

/** A record with the current state of its process. */
export type ProcessState = ProcessRecord & { process: ProcessIdentity | undefined; running: boolean };

/** The pid and the start time, which no later process shares. While a record exists, no other service gets its port. */
export function instanceOf({ process }: Pick<ProcessState, "process">): string | undefined {
  return process && `${process.pid} ${process.startTime}`;
}

export type Records = ReturnType<typeof openRecords>;

/** A folder with three files per service: its record, its process's identity, its log. */
export function openRecords(at: string) {
  // Absolute, because a service runs in a folder of its own.
  const folder = resolve(at);
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const boot = bootId();
  const path = (service: string, kind: "json" | "stat" | "log") => {
    // Also makes the name safe for a path.
    refuseBadName(service);
    return join(folder, `${service}.${kind}`);
  };

  /** Atomic, because berth may be killed at any time. Not durable: the services end with the machine too. */
  const write = (record: ProcessRecord, unlessExists: boolean) =>
    replaceFile(path(record.service, "json"), JSON.stringify(record), { mode: 0o600, unlessExists, isDurable: false });

  const find = (service: string): ProcessState | undefined => {
    if (!isServiceName(service)) return undefined;
    const record = parse(read(path(service, "json")));
    if (!record) return undefined;
    const identity = parseStat(read(path(service, "stat")) ?? "");
    const running = identity !== undefined && record.boot === boot && record.exitCode === undefined && isAlive(identity);
    return { ...record, process: record.boot === boot ? identity : undefined, running };
  };

  return {
    boot,
    logPath: (service: string) => path(service, "log"),
    statPath: (service: string) => path(service, "stat"),
    find,
    all: (): ProcessState[] =>
      names(folder)
        .filter((name) => name.endsWith(".json"))
        .flatMap((name) => find(name.slice(0, -".json".length)) ?? []),
    /** False if a record exists: only one of two concurrent starts may continue. */
    claim: (record: ProcessRecord): boolean => write(record, true),
    /** Records the exit code, unless the record was removed or replaced meanwhile. A full disk loses only the exit code. */
    setExit: (service: string, pid: number, exitCode: number) => {
      const current = find(service);
      if (current?.process?.pid !== pid) return;
      const { process: _, running: __, ...record } = current;
      try {
        write({ ...record, exitCode }, false);
      } catch {}
      // Removed between `find` and `write`.
      if (read(path(service, "stat")) === undefined) rmSync(path(service, "json"), { force: true });
    },
    /** `claim`: of the instance that has ended. Another process may have started the next one meanwhile, whose record stays. */
    remove: (service: string, claim?: string) => {
      if (!isServiceName(service) || (claim !== undefined && find(service)?.claim !== claim)) return;
      // The identity first: see `setExit`.
      for (const kind of ["stat", "json", "log"] as const) rmSync(path(service, kind), { force: true });
    },
  };
}

/** After SIGKILL only the kernel is to act. A zombie that is not reaped is left. */
const KILL_MS = 2_000;

const POLL_MS = { first: 10, longest: 100 };

/**
 * Ends the service's process group and removes its record. Without a signal it cannot be aborted: it cleans up after a failure. `claim`: of the only instance
 * that it may end.
 */
export async function destroy(records: Records, clock: Clock, service: string, signal?: AbortSignal, claim?: string): Promise<void> {
  signal?.throwIfAborted();
  const current = records.find(service);
  if (claim !== undefined && current?.claim !== claim) return;
  if (!current) return records.remove(service);
  const identity = current.process;
  if (identity && current.running) {
    signalGroup(identity.pid, "SIGTERM");
    const gone = () => !isAlive(identity) && !acceptsSignal(-identity.pid);
    const { shutdownGraceSeconds = STOP_GRACE_SECONDS } = current;
    if (!(await waitUntil(clock, shutdownGraceSeconds * 1_000, gone, signal))) {
      signalGroup(identity.pid, "SIGKILL");
      await waitUntil(clock, KILL_MS, gone, signal);
    }
  } else if (identity && identity.startTime > 0 && !isAlive(identity) && !acceptsSignal(identity.pid)) {
    // The leader has ended without the rest of its group. The kernel does not reuse its pid while the group exists.
    signalGroup(identity.pid, "SIGKILL");
  }
  records.remove(service, current.claim);
}

async function waitUntil(clock: Clock, ms: number, done: () => boolean, signal: AbortSignal | undefined): Promise<boolean> {
  const end = clock.monotonic() + ms;
  const delays = createBackoff(POLL_MS.first, POLL_MS.longest);
  while (!done()) {
    const leftMs = end - clock.monotonic();
    if (leftMs <= 0) return false;
    await clock.sleep(Math.min(leftMs, delays.next()), signal);
  }
  return true;
}

/** A removed folder has no services. */
function names(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

/** A record that a full disk has cut counts as none. */
function parse(text: string | undefined): ProcessRecord | undefined {
  return parseJson(text ?? "") as ProcessRecord | undefined;
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
}

/** Identifies a process: pids are reused, but not with the same start time since the same boot. */
type ProcessIdentity = {
  pid: number;
  /** Clock ticks after boot; 0 on a machine without /proc, where only the pid identifies it. */
  startTime: number;
};

/** Parses a line of /proc/<pid>/stat, or a pid alone on a machine without /proc. */
function parseStat(line: string): (ProcessIdentity & { dead: boolean }) | undefined {
  const pid = Number.parseInt(line, 10);
  if (!Number.isInteger(pid) || pid <= 1) return undefined;
  // The second field is the program's name in parentheses, which may hold spaces and parentheses of its own.
  const [state = "", ...fields] = line.slice(line.lastIndexOf(")") + 2).split(" ");
  if (!line.includes(")")) return { pid, startTime: 0, dead: false };
  return { pid, startTime: Number(fields[18]), dead: state === "Z" || state === "X" };
}

/** A zombie is dead. */
function isAlive({ pid, startTime }: ProcessIdentity): boolean {
  if (startTime === 0) return acceptsSignal(pid);
  try {
    const current = parseStat(readFileSync(`/proc/${pid}/stat`, "utf8"));
    return current !== undefined && !current.dead && current.startTime === startTime;
  } catch {
    return false;
  }
}

/** Signals the process group of a service, if it exists. */
function signalGroup(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-pid, signal);
  } catch {}
}

/** True for a process, and for the group of a negative pid, while it exists; a group also after its leader has ended. */
function acceptsSignal(target: number): boolean {
  try {
    process.kill(target, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

/** Changes with each boot, so that a record from before the boot matches no current process. */
function bootId(): string {
  try {
    return readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
  } catch {
    return "";
  }
}
