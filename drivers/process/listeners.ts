import { readdir, readlink } from "node:fs/promises";
import type { Listeners } from "../driver.ts";
import { parseListening, readSocketTables } from "../listening.ts";
import { processTree } from "./process-tree.ts";
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
