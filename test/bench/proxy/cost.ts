import { readdirSync, readFileSync } from "node:fs";
import { tree } from "./pinned.ts";

/** `stat` counts processor time in ticks of 10 ms on every Linux that Node runs on, rounded down. */
const US_PER_TICK = 10_000;

/** Processor time of a process and all its children so far, user and system, in microseconds. */
export function cpuUs(pid: number): number {
  return tree(pid).reduce((sum, one) => sum + Math.max(ticksUs(one), threadsUs(one)), 0);
}

/** With the threads that have ended. */
function ticksUs(pid: number): number {
  const stat = read(`/proc/${pid}/stat`);
  // The name may hold spaces and brackets; the fields stand behind its end.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11] ?? 0) + Number(fields[12] ?? 0)) * US_PER_TICK;
}

/** To the nanosecond, of the threads that still run. */
function threadsUs(pid: number): number {
  return threadsOf(pid).reduce((sum, thread) => sum + Number(read(`/proc/${pid}/task/${thread}/schedstat`).split(" ")[0] ?? 0) / 1_000, 0);
}

/** Resident memory of a process and all its children, in KiB. What they share counts for each. */
export function rssKb(pid: number): number {
  return tree(pid).reduce((sum, one) => sum + Number(/^VmRSS:\s+(\d+)/m.exec(read(`/proc/${one}/status`))?.[1] ?? 0), 0);
}

/** Proportional memory of one process, in KiB: what several share counts in equal parts for each (`smaps_rollup` of proc(5)). */
export function pssKb(pid: number): number {
  return Number(/^Pss:\s+(\d+)/m.exec(read(`/proc/${pid}/smaps_rollup`))?.[1] ?? 0);
}

/** Samples resident memory until it is stopped, and returns the most that it saw. */
export function watchRss(pid: number): { stop(): number } {
  let most = rssKb(pid);
  const timer = setInterval(() => {
    most = Math.max(most, rssKb(pid));
  }, 50);
  return {
    stop: () => {
      clearInterval(timer);
      return Math.max(most, rssKb(pid));
    },
  };
}

function threadsOf(pid: number): string[] {
  try {
    return readdirSync(`/proc/${pid}/task`);
  } catch {
    return [];
  }
}

function read(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return "";
  }
}
