import { Fault } from "../lib/fault.ts";
import { findCommand, findVerb, parseVerbArgs } from "./command.ts";
import { commandHelp, overview } from "./help.ts";
import type { CommandContext } from "./command-context.ts";
import type { Screen } from "./terminal/screen.ts";
import { INTERNAL_COMMANDS, COMMANDS } from "./table.ts";

const isHelpFlag = (word: string) => word === "--help" || word === "-h";

/**
 * Runs the command at the beginning of the arguments, or prints its help. Only a command that cleans up after Ctrl-C calls `interrupted`. Returns the
 * command's exit code, if it has one. Faults: SETTINGS_INVALID, and the command's own.
 */
export async function runCommand(
  context: CommandContext,
  { screen, interrupted }: { screen: Screen; interrupted(): AbortSignal },
): Promise<number | void> {
  const [first = context.env["BERTH_ROLE"] ?? "help", ...args] = context.args;
  if (isHelpFlag(first)) return screen.print(overview(COMMANDS, screen.width));
  const name = first === "--version" ? "version" : first;
  const entry = findCommand(name, COMMANDS, INTERNAL_COMMANDS);
  // Arguments after `--`, or of another program, are not berth's.
  const own = name === "node" ? [] : args.slice(0, args.includes("--") ? args.indexOf("--") : undefined);
  if (own.some(isHelpFlag)) {
    const words = args.filter((word) => !isHelpFlag(word));
    return screen.print(await commandHelp(name, entry, words, screen.width));
  }
  const command = await entry.load();
  if ("verbs" in command) {
    const match = findVerb(name, command.verbs, args);
    const read = parseVerbArgs(name, match.name, match.verb, match.args);
    let signal: AbortSignal | undefined;
    const call = {
      context: { ...context, args },
      ...read,
      commands: COMMANDS,
      screen,
      // Ctrl-C ends a command that does not read this.
      get signal() {
        return (signal ??= interrupted());
      },
    };
    return match.verb.run(call).catch((error: unknown) => {
      throw signal?.aborted ? signal.reason : error;
    });
  }
  if (command.usage === undefined && args.length > 0)
    throw new Fault("SETTINGS_INVALID", `There is no place for ${JSON.stringify(args[0])}.\nUsage: berth ${name}`);
  return command.run({ ...context, args });
}
