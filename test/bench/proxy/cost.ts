import { readFileSync } from "node:fs";
import { tree } from "./pinned.ts";

/** The kernel counts processor time in ticks of 10 ms on every Linux that Node runs on. */
const US_PER_TICK = 10_000;

/** Processor time of a process and all its children so far, user and system, in microseconds. */
export function cpuUs(pid: number): number {
  let ticks = 0;
  for (const one of tree(pid)) {
    // The name may hold spaces and brackets; what is wanted stands behind its end.
    const fields = statOf(one)
      .slice(statOf(one).lastIndexOf(")") + 2)
      .split(" ");
    ticks += Number(fields[11] ?? 0) + Number(fields[12] ?? 0);
  }
  return ticks * US_PER_TICK;
}

/** Resident memory of a process and all its children, in KiB. What they share counts for each. */
export function rssKb(pid: number): number {
  return tree(pid).reduce((sum, one) => sum + Number(/^VmRSS:\s+(\d+)/m.exec(read(`/proc/${one}/status`))?.[1] ?? 0), 0);
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

function statOf(pid: number): string {
  return read(`/proc/${pid}/stat`);
}

function read(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return "";
  }
}
