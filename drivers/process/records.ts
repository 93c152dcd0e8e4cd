import { mkdirSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join, resolve } from "node:path";
import { replaceFile } from "../../lib/replace-file.ts";
import type { Labels } from "../driver.ts";
import { isServiceName, refuseBadName } from "../labels.ts";

/** What is kept of a service, so that another berth finds it again. Its process writes its own identity beside it. */
export type ProcessRecord = {
  service: string;
  labels: Labels;
  port?: number | undefined;
  boot: string;
  /** Known only where the berth that started it saw it end. */
  exitCode?: number | undefined;
};

/** A record as it stands now. */
export type ProcessState = ProcessRecord & { process: ProcessIdentity | undefined; running: boolean };

/** A process by its id and its start, which no later one has in common with it; a port of this machine is given to no other service while its record is there. */
export function instanceOf({ process }: Pick<ProcessState, "process">): string | undefined {
  return process && `${process.pid} ${process.startTime}`;
}

export type Records = ReturnType<typeof openRecords>;

/** A folder with three files per service: its record, its process's identity, its log. */
export function openRecords(at: string) {
  // A service runs in a folder of its own, from where a relative path would lead elsewhere.
  const folder = resolve(at);
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const boot = bootId();
  const path = (service: string, kind: "json" | "stat" | "log") => {
    // Also what makes a name safe as a file's.
    refuseBadName(service);
    return join(folder, `${service}.${kind}`);
  };

  /** In one step, since a kill may come at any time. It need not outlast the machine's own end: the services do not either. */
  const write = (record: ProcessRecord, unlessExists: boolean) =>
    replaceFile(path(record.service, "json"), JSON.stringify(record), { mode: 0o600, unlessExists, isDurable: false });

  const find = (service: string): ProcessState | undefined => {
    if (!isServiceName(service)) return undefined;
    const record = parse(read(path(service, "json")));
    if (!record) return undefined;
    const identity = readStat(read(path(service, "stat")) ?? "");
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
    /** False where there is one already: of two who start a service, one does. */
    claim: (record: ProcessRecord): boolean => write(record, true),
    /** Says how it ended, unless it was removed or replaced meanwhile. A disk that takes no more loses the exit code only. */
    ended: (service: string, pid: number, exitCode: number) => {
      const found = find(service);
      if (found?.process?.pid !== pid) return;
      const { process: _, running: __, ...record } = found;
      try {
        write({ ...record, exitCode }, false);
      } catch {}
    },
    remove: (service: string) => {
      if (!isServiceName(service)) return;
      for (const kind of ["json", "stat", "log"] as const) rmSync(path(service, kind), { force: true });
    },
  };
}

/** A folder that was taken away holds no services. */
function names(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

/** One that a full disk cut short counts as none. */
function parse(text: string | undefined): ProcessRecord | undefined {
  try {
    return JSON.parse(text ?? "") as ProcessRecord;
  } catch {
    return undefined;
  }
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
}

/** A process for good: pids are used again, but not with the same start time since the same boot. */
export type ProcessIdentity = {
  pid: number;
  /** Clock ticks after boot; 0 on a machine without /proc, where the pid alone must do. */
  startTime: number;
};

/** Reads a line of /proc/<pid>/stat, or a bare pid where there is no /proc. */
export function readStat(line: string): (ProcessIdentity & { dead: boolean }) | undefined {
  const pid = Number.parseInt(line, 10);
  if (!Number.isInteger(pid) || pid <= 1) return undefined;
  // The second field is the program's name in parentheses, which may hold spaces and parentheses of its own.
  const [state = "", ...fields] = line.slice(line.lastIndexOf(")") + 2).split(" ");
  if (!line.includes(")")) return { pid, startTime: 0, dead: false };
  return { pid, startTime: Number(fields[18]), dead: state === "Z" || state === "X" };
}

/** A zombie, whom nobody has buried yet, is dead. */
export function isAlive({ pid, startTime }: ProcessIdentity): boolean {
  if (startTime === 0) return answersTo(pid);
  try {
    const found = readStat(readFileSync(`/proc/${pid}/stat`, "utf8"));
    return found !== undefined && !found.dead && found.startTime === startTime;
  } catch {
    return false;
  }
}

/** Signals the whole group of a service; one that is gone is fine. */
export function signalGroup(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-pid, signal);
  } catch {}
}

/** True while any process of the group is left, also after its leader died. */
export function groupIsLeft(pid: number): boolean {
  return answersTo(-pid);
}

function answersTo(target: number): boolean {
  try {
    process.kill(target, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

/** Changes with each boot, so that a record from before it is not taken for a process of now. */
export function bootId(): string {
  try {
    return readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
  } catch {
    return "";
  }
}
