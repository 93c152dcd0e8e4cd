import { readdirSync, readFileSync } from "node:fs";

/** Linux counts processor time in hundredths of a second. */
const TICK_SECONDS = 0.01;

/** Which processes are one role, by command line, process id and parent. */
export type CpuRoles = Readonly<Record<string, (command: string, pid: number, parent: number) => boolean>>;

/** Seconds of processor time that each role has taken until now, with those of its children that ended. Linux only. */
export function cpuSeconds(roles: CpuRoles): Record<string, number> {
  const sums = Object.fromEntries(Object.keys(roles).map((role) => [role, 0]));
  for (const pid of readdirSync("/proc").map(Number).filter(Number.isInteger)) {
    try {
      const command = readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ");
      // After the name: state, parent, …; the 12th to the 15th are user, system, and both of the children.
      const fields = readFileSync(`/proc/${pid}/stat`, "utf8")
        .replace(/^.*\) /s, "")
        .split(" ")
        .map(Number);
      const role = Object.keys(roles).find((name) => roles[name]?.(command, pid, fields[1] ?? 0));
      if (role !== undefined) sums[role] = (sums[role] ?? 0) + fields.slice(11, 15).reduce((sum, ticks) => sum + ticks, 0) * TICK_SECONDS;
    } catch {
      // It has ended meanwhile.
    }
  }
  return sums;
}

export function cpuSince(before: Record<string, number>, roles: CpuRoles): Record<string, number> {
  return Object.fromEntries(Object.entries(cpuSeconds(roles)).map(([role, seconds]) => [role, seconds - (before[role] ?? 0)]));
}
