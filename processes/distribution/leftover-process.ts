import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** What may run on a registry's folder. */
const PROCESSES = ["writable", "readonly", "garbage"] as const;

/** The file that says which process it is. */
export function processFile(folder: string, name: (typeof PROCESSES)[number]): string {
  return join(folder, `${name}.pid`);
}

/** Ends all that is left on a folder that is ours: above all what collects garbage, before anything is pushed again. Returns their ids. */
export function endLeftovers(folder: string): number[] {
  return PROCESSES.map((name) => endLeftover(processFile(folder, name))).filter((pid) => pid !== undefined);
}

/**
 * A registry process outlives a berth that is killed: the next one on the same folder ends it by what the file says. A process is known
 * by its id and the tick in which it began, so that no other that got the same id is meant. Without /proc nothing is known and nothing done.
 */
export function rememberProcess(file: string, pid: number): void {
  writeFileSync(file, JSON.stringify({ pid, began: beganAt(pid) }), { mode: 0o600 });
}

/** Nobody sends anything to it any more, so it may end at once. Returns its id where there was one. */
function endLeftover(file: string): number | undefined {
  const { pid, began } = readFile(file);
  rmSync(file, { force: true });
  if (pid === undefined || began === undefined || beganAt(pid) !== began) return undefined;
  try {
    process.kill(pid, "SIGKILL");
    return pid;
  } catch {
    // It ended by itself just now.
    return undefined;
  }
}

/** Clock ticks since the machine started: field 22 of proc(5), counted behind the name, which may hold spaces. */
function beganAt(pid: number): string | undefined {
  try {
    const said = readFileSync(`/proc/${pid}/stat`, "utf8");
    return said.slice(said.lastIndexOf(")") + 2).split(" ")[19];
  } catch {
    return undefined;
  }
}

function readFile(file: string): { pid?: number; began?: string } {
  try {
    return JSON.parse(readFileSync(file, "utf8")) as { pid?: number; began?: string };
  } catch {
    return {};
  }
}
