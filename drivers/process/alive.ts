import { readFileSync } from "node:fs";

/** A process for good: pids are used again, but not with the same start time since the same boot. */
export type Identity = {
  pid: number;
  /** Clock ticks after boot; 0 on a machine without /proc, where the pid alone must do. */
  startTime: number;
};

/** Reads a line of /proc/<pid>/stat, or a bare pid where there is no /proc. */
export function readStat(line: string): (Identity & { dead: boolean }) | undefined {
  const pid = Number.parseInt(line, 10);
  if (!Number.isInteger(pid) || pid <= 1) return undefined;
  // The second field is the program's name in parentheses, which may hold spaces and parentheses of its own.
  const [state = "", ...fields] = line.slice(line.lastIndexOf(")") + 2).split(" ");
  if (!line.includes(")")) return { pid, startTime: 0, dead: false };
  return { pid, startTime: Number(fields[18]), dead: state === "Z" || state === "X" };
}

/** A zombie, whom nobody has buried yet, is dead. */
export function isAlive({ pid, startTime }: Identity): boolean {
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
