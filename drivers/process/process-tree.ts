import { readdir, readFile } from "node:fs/promises";

/** A service that forks without end must not keep berth busy. */
const MAX_PROCESSES = 1_000;

/** A process and its running descendants, by /proc. */
export async function* processTree(pid: number, signal: AbortSignal): AsyncGenerator<number> {
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
export function readProc(path: string): Promise<string> {
  return readFile(path, "utf8").then(
    (text) => text.trim(),
    () => "",
  );
}
