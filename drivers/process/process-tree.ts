import { readdir, readFile, readlink } from "node:fs/promises";
import type { Listeners, Usage } from "../driver.ts";
import { parseListening, readSocketTables } from "../listening.ts";
import type { ProcessState } from "./records.ts";

/** A service with more open files is known by its first ones. */
const MOST_FILES = 10_000;

/** Read at a time. */
const BATCH = 100;

/** Where a service and its running descendants listen: all processes of the machine share its tables. Undefined if it does not run, or without /proc. */
export async function processListeners({ running, process, port }: ProcessState, signal: AbortSignal): Promise<Listeners | undefined> {
  const tables = running && process ? await readSocketTables(process.pid) : undefined;
  if (tables === undefined || !process) return undefined;
  const inodes = new Set<string>();
  for await (const pid of processTree(process.pid, signal)) await addInodes(pid, inodes);
  const sockets = parseListening(tables, inodes);
  return sockets && { sockets, portVariable: port };
}

/** The links of a socket's files are `socket:[inode]`; see proc_pid_fd(5). */
async function addInodes(pid: number, inodes: Set<string>): Promise<void> {
  const files = (await readdir(`/proc/${pid}/fd`).catch(() => [])).slice(0, MOST_FILES);
  for (let at = 0; at < files.length; at += BATCH) {
    const links = await Promise.all(files.slice(at, at + BATCH).map((file) => readlink(`/proc/${pid}/fd/${file}`).catch(() => "")));
    for (const link of links) {
      const inode = /^socket:\[(\d+)\]$/.exec(link)?.[1];
      if (inode !== undefined) inodes.add(inode);
    }
  }
}

/** Linux counts processor time in hundredths of a second. */
const TICK_MS = 10;

/**
 * The processor time of a process, its running descendants, and those that it has waited for. Undefined on a machine without /proc. A process shares its
 * machine's network, so that bytes are not known.
 */
export async function processUsage(pid: number, signal: AbortSignal): Promise<Usage | undefined> {
  let ticks = 0;
  let memoryBytes = 0;
  for await (const current of processTree(pid, signal)) {
    const own = parseTicks(await readProc(`/proc/${current}/stat`));
    if (own === undefined && current === pid) return undefined;
    ticks += own ?? 0;
    memoryBytes += parseResident(await readProc(`/proc/${current}/status`));
  }
  return { cpuMs: ticks * TICK_MS, networkBytes: 0, memoryBytes };
}

/** VmRSS of /proc/<pid>/status in bytes: pages that processes share count for each of them. */
function parseResident(status: string): number {
  return Number(/^VmRSS:\s*(\d+) kB/m.exec(status)?.[1] ?? 0) * 1_024;
}

/** utime, stime, cutime and cstime of /proc/<pid>/stat; see proc_pid_stat(5). */
function parseTicks(line: string): number | undefined {
  if (line === "") return undefined;
  // The second field is the program's name in parentheses, which may hold spaces and parentheses of its own.
  const fields = line.slice(line.lastIndexOf(")") + 2).split(" ");
  return fields.slice(11, 15).reduce((sum, field) => sum + Number(field), 0);
}

/** A service that forks without end must not keep berth busy. */
const MAX_PROCESSES = 1_000;

/** A process and its running descendants, by /proc. */
async function* processTree(pid: number, signal: AbortSignal): AsyncGenerator<number> {
  const pending = [pid];
  for (let count = 0; pending.length > 0 && count < MAX_PROCESSES; count++) {
    signal.throwIfAborted();
    const current = pending.pop() as number;
    yield current;
    pending.push(...(await childrenOf(current)));
  }
}

/** Each thread has its own children. */
async function childrenOf(pid: number): Promise<number[]> {
  const threads = await readdir(`/proc/${pid}/task`).catch(() => []);
  const lists = await Promise.all(threads.slice(0, MAX_PROCESSES).map((thread) => readProc(`/proc/${pid}/task/${thread}/children`)));
  return lists.flatMap((list) => list.split(" ").filter((word) => word !== "")).map(Number);
}

/** Empty for a process that has ended. */
function readProc(path: string): Promise<string> {
  return readFile(path, "utf8").then(
    (text) => text.trim(),
    () => "",
  );
}
