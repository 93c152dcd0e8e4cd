import { readdirSync, readFileSync } from "node:fs";

/** How long what a test file started may outlive it: the end of a berth and of its containers takes some seconds. */
const GRACE_MS = 15_000;
const LOOK_EVERY_MS = 3_000;

/**
 * Ends what test files leave behind when they are killed, by a time limit or by a crash: a later file would meet its load and its sockets. `folder` is the
 * one that test/run/prepare-process.ts puts into PATH. `close` ends the rest at once.
 */
export function endLeftovers(folder: string): { close(): void } {
  const seenSince = new Map<number, number>();
  const look = (graceMs: number) => {
    for (const { pid, owner } of marked(folder)) {
      if (isRunning(owner)) continue;
      const since = seenSince.get(pid) ?? performance.now();
      seenSince.set(pid, since);
      if (performance.now() - since < graceMs) continue;
      console.error(`ended what a test left running: ${pid} ${read(pid, "cmdline").replaceAll("\0", " ").slice(0, 200)}`);
      kill(pid);
    }
  };
  const timer = setInterval(() => look(GRACE_MS), LOOK_EVERY_MS);
  return {
    close() {
      clearInterval(timer);
      look(0);
    },
  };
}

/** Every process with the mark, and the test file's process that it descends from. */
function marked(folder: string): { pid: number; owner: number }[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .flatMap((pid) => {
      const [, owner] = read(pid, "environ").split(`${folder}/`);
      return owner === undefined ? [] : [{ pid, owner: Number.parseInt(owner, 10) }];
    });
}

function isRunning(pid: number): boolean {
  const state = /^\d+ \(.*\) (\S)/s.exec(read(pid, "stat"))?.[1];
  return state !== undefined && state !== "Z";
}

/** Empty for a process that has ended. */
function read(pid: number, file: string): string {
  try {
    return readFileSync(`/proc/${pid}/${file}`, "latin1");
  } catch {
    return "";
  }
}

function kill(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // It has ended by now.
  }
}
