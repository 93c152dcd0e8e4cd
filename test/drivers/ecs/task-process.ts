import { spawn } from "node:child_process";
import { once } from "node:events";
import { constants } from "node:os";
import { basename, dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { localise, readRecipe } from "../../../drivers/process/folder.ts";

const BIND_HERE = join(import.meta.dirname, "bind-here.cjs");

export type TaskProcess = {
  /** Resolves with the exit code once it has ended and all that it said was handed on. */
  ended: Promise<number>;
  kill(signal: NodeJS.Signals): void;
};

/** A task's container: the app of a test image as a process of this machine, which listens at `host`. Rejects where its command does not exist. */
export async function runTask(folder: string, host: string, env: Record<string, string>, say: (line: string) => void): Promise<TaskProcess> {
  const recipe = await readRecipe({ ref: "test", folder });
  const { command, cwd } = localise(recipe, process.execPath);
  const [program = "", ...args] = command;
  const own = basename(program) === "node" ? ["--require", BIND_HERE] : [];
  const child = spawn(program, [...own, ...args], {
    cwd,
    env: { ...recipe.env, ...env, PATH: dirname(process.execPath), TASK_ADDRESS: host },
    stdio: ["ignore", "pipe", "pipe"],
  });
  await once(child, "spawn");
  const read = [child.stdout, child.stderr].map(async (stream) => {
    for await (const line of createInterface(stream)) say(line);
  });
  const exit = once(child, "exit") as Promise<[number | null, NodeJS.Signals | null]>;
  const ended = exit.then(async ([code, signal]) => {
    await Promise.all(read);
    return code ?? 128 + (signal ? constants.signals[signal] : 0);
  });
  return { ended, kill: (signal) => void child.kill(signal) };
}
