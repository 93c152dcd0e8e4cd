import { suggestion } from "../conf/suggestion.ts";
import { Fault } from "../lib/fault.ts";
import type { Here } from "./command-context.ts";
import type { Verbs } from "./verb.ts";

/** What a command's module has: its verbs; or `run`, which takes no words unless it has a `usage` and reads them itself. A number is the exit code. */
export type CommandModule = { verbs: Verbs } | { run(here: Here): Promise<number | void>; usage?: string };

/** `says` is one sentence without its full stop. Each loads only the rooms that it runs. */
export type Command = { theme: keyof typeof THEMES; says: string; load(): Promise<CommandModule> };

export type Commands = Readonly<Record<string, Command>>;

/** What help and the docs put commands under, in this order. */
export const THEMES = {
  containers: "Containers",
  look: "Finding out what is wrong",
  publish: "Publishing",
  people: "People and secrets",
  run: "Running berth",
  machine: "Looking after it",
  shell: "This command line",
} as const;

/** Faults: SETTINGS_INVALID. */
export function findCommand(name: string, commands: Commands, internal: Commands = {}): Command {
  const found = [commands, internal].find((table) => Object.hasOwn(table, name))?.[name];
  if (found) return found;
  throw new Fault(
    "SETTINGS_INVALID",
    `There is no command ${JSON.stringify(name)}${suggestion(name, Object.keys(commands))}; berth help lists what there is.`,
  );
}
