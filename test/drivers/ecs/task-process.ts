import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { constants } from "node:os";
import { basename, dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { localise, readRecipe } from "../../../drivers/process/resolve.ts";

/** How often it is looked how much memory a process has. */
const LOOK_EVERY_MS = 20;
const PAGE_BYTES = 4_096;
const BIND_HERE = join(import.meta.dirname, "bind-here.cjs");

export type TaskProcess = {
  /** Resolves once it has ended and all its output was handed on. */
  ended: Promise<{ code: number; outOfMemory: boolean }>;
  kill(signal: NodeJS.Signals): void;
  /** Where other processes of the container run. */
  place: { env: Record<string, string>; cwd: string };
};

type Container = { folder: string; host: string; env: Record<string, string>; memoryMb: number; say(line: string): void };

/**
 * A task's container: the app of a test image as a process of this machine, which listens at `host` and is killed where it takes more memory than its
 * limit, as a cgroup would. Rejects where its command does not exist.
 */
export async function runTask({ folder, host, env, memoryMb, say }: Container): Promise<TaskProcess> {
  const recipe = await readRecipe({ ref: "test", folder });
  const { command, cwd } = localise(recipe, process.execPath);
  const [program = "", ...args] = command;
  const own = basename(program) === "node" ? ["--require", BIND_HERE] : [];
  const variables = { ...recipe.env, ...env, PATH: dirname(process.execPath), TASK_ADDRESS: host };
  const child = spawn(program, [...own, ...args], {
    cwd,
    env: variables,
    stdio: ["ignore", "pipe", "pipe"],
  });
  await once(child, "spawn");
  const read = [child.stdout, child.stderr].map(async (stream) => {
    for await (const line of createInterface(stream)) say(line);
  });
  const exit = once(child, "exit") as Promise<[number | null, NodeJS.Signals | null]>;
  const watch = limitMemory(child, memoryMb);
  const ended = exit.then(async ([code, signal]) => {
    clearInterval(watch.timer);
    await Promise.all(read);
    return { code: code ?? 128 + (signal ? constants.signals[signal] : 0), outOfMemory: watch.outOfMemory };
  });
  // Only the app is to find no other program than its own.
  const place = { env: { ...variables, PATH: `${variables.PATH}:/usr/bin:/bin` }, cwd };
  return { ended, kill: (signal) => void child.kill(signal), place };
}

function limitMemory(child: ChildProcess, memoryMb: number) {
  const watch = {
    outOfMemory: false,
    timer: setInterval(() => {
      if (residentBytes(child) <= memoryMb * 1_048_576) return;
      watch.outOfMemory = true;
      child.kill("SIGKILL");
    }, LOOK_EVERY_MS),
  };
  return watch;
}

function residentBytes({ pid }: ChildProcess): number {
  try {
    return Number(readFileSync(`/proc/${pid}/statm`, "utf8").split(" ")[1]) * PAGE_BYTES;
  } catch {
    return 0;
  }
}
