import type { Usage } from "../driver.ts";
import { processTree, readProc } from "./process-tree.ts";

/** Linux counts processor time in hundredths of a second. */
const TICK_MS = 10;

/**
 * The processor time of a process, its running descendants, and those that it has waited for. Undefined on a machine without /proc. A process shares its
 * machine's network, so that bytes are not known.
 */
export async function processUsage(pid: number, signal: AbortSignal): Promise<Usage | undefined> {
  let ticks = 0;
  for await (const current of processTree(pid, signal)) {
    const own = parseTicks(await readProc(`/proc/${current}/stat`));
    if (own === undefined && current === pid) return undefined;
    ticks += own ?? 0;
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
