import { readdir, readFile } from "node:fs/promises";
import type { Usage } from "../driver.ts";

/** Linux counts processor time in hundredths of a second. */
const TICK_MS = 10;
/** A service that forks without end must not keep berth busy. */
const MAX_PROCESSES = 1_000;

/**
 * The processor time of a process, its running descendants, and those that it has waited for. Undefined on a machine without /proc. A process shares its
 * machine's network, so that bytes are not known.
 */
export async function processUsage(pid: number, signal: AbortSignal): Promise<Usage | undefined> {
  let ticks = 0;
  const pending = [pid];
  for (let count = 0; pending.length > 0 && count < MAX_PROCESSES; count++) {
    signal.throwIfAborted();
    const current = pending.pop() as number;
    const own = parseTicks(await read(`/proc/${current}/stat`));
    if (own === undefined && current === pid) return undefined;
    ticks += own ?? 0;
    pending.push(...(await childrenOf(current)));
  }
  return { cpuMs: ticks * TICK_MS, networkBytes: 0 };
}

/** utime, stime, cutime and cstime of /proc/<pid>/stat; see proc_pid_stat(5). */
function parseTicks(line: string): number | undefined {
  if (line === "") return undefined;
  // The second field is the program's name in parentheses, which may hold spaces and parentheses of its own.
  const fields = line.slice(line.lastIndexOf(")") + 2).split(" ");
  return fields.slice(11, 15).reduce((sum, field) => sum + Number(field), 0);
}

/** Each thread has its own children. */
async function childrenOf(pid: number): Promise<number[]> {
  const threads = await readdir(`/proc/${pid}/task`).catch(() => []);
  const lists = await Promise.all(threads.slice(0, MAX_PROCESSES).map((thread) => read(`/proc/${pid}/task/${thread}/children`)));
  return lists.flatMap((list) => list.split(" ").filter((word) => word !== "")).map(Number);
}

/** Empty for a process that has ended. */
function read(path: string): Promise<string> {
  return readFile(path, "utf8").then(
    (text) => text.trim(),
    () => "",
  );
}
