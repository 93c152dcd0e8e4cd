import { existsSync } from "node:fs";
import { loadSettingsParser, type ParseSettingsFile, SETTINGS_FILE, SETTINGS_FILE_NAME } from "../conf/read-settings.ts";
import { systemClock } from "../lib/clock.ts";
import { Fault } from "../lib/fault.ts";
import { HANDOVER_NAME } from "../processes/handover.ts";
import { findParent } from "../processes/parent.ts";
import type { CommandContext } from "./command-context.ts";
import { exitCodeOf, findCommand, findVerb, Interrupted, parseVerbArgs, unexpectedAnswer } from "./command.ts";
import { commandHelp, overview } from "./help.ts";
import { COMMANDS, INTERNAL_COMMANDS } from "./table.ts";
import { serviceEnvironment } from "./service-environment.ts";
import { withOutputFormat } from "./output.ts";
import { createScreen, oneLine, type Screen } from "./terminal.ts";

/** Runs a command line, and ends the process with its exit code. `script` is berth's own file; undefined in the single executable. */
export async function main({ env: given, args, script }: { env: NodeJS.ProcessEnv; args: string[]; script: string | undefined }): Promise<void> {
  const env = asService(given, args);
  const reader = watchReader();
  // The process that hands over to this one is not its parent: it ends before.
  const parent = env[HANDOVER_NAME] === undefined ? findParent() : undefined;
  try {
    const context = { env, args, script, parent, parseSettingsFile: await settingsFileParser(env), clock: systemClock() };
    await exit((await runCommand(context, { screen: createScreen(process), interrupted, onReaderLeft: reader.onLeft })) ?? 0);
  } catch (error) {
    // An expected failure is one sentence; any other error is a bug, with its trace.
    if (error instanceof Fault) {
      if (parent) await parent.fault(error);
      else {
        for (const line of error.message.split("\n")) console.error(`berth: ${oneLine(line)}`);
        for (const line of error.logs ?? []) console.error(`  ${oneLine(line)}`);
      }
    } else if (!(error instanceof Interrupted)) console.error(error);
    await exit(exitCodeOf(error));
  }
}

/** For root beside an installed service: its variables, and its user from now on, whose key and socket the command uses. */
function asService(env: NodeJS.ProcessEnv, args: readonly string[]): NodeJS.ProcessEnv {
  const service = serviceEnvironment({ env, args, uid: process.getuid?.(), folder: process.cwd() });
  if (!service) return env;
  if (service.owner) {
    takeGroupsOf(service.owner);
    process.setgid?.(service.owner.gid);
    process.setuid?.(service.owner.uid);
  }
  // The servers that root saved are not this one, and its home is closed to the service's user.
  const { HOME: _home, XDG_CONFIG_HOME: _config, XDG_RUNTIME_DIR: _runtime, ...others } = env;
  return { ...others, ...service.variables };
}

/** With the supplementary groups of the user, such as `docker`; a user without an account has none. The types of Node lack this function. */
function takeGroupsOf({ uid, gid }: { uid: number; gid: number }): void {
  try {
    (process as { initgroups?(user: number, extraGroup: number): void }).initgroups?.(uid, gid);
  } catch {
    process.setgroups?.([gid]);
  }
}

/** Undefined if there is no settings file. */
export async function settingsFileParser(env: NodeJS.ProcessEnv): Promise<ParseSettingsFile | undefined> {
  return env[SETTINGS_FILE_NAME] !== undefined || existsSync(SETTINGS_FILE) ? loadSettingsParser() : undefined;
}

/** The command handles the first Ctrl-C or SIGTERM; the next one ends the program at once. */
function interrupted(): AbortSignal {
  const pressed = new AbortController();
  for (const name of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.once(name, () => pressed.abort(new Interrupted()));
  return pressed.signal;
}

/**
 * A reader such as `head` closes the pipe before the end. What a command began is not left half done for that: its output is dropped, unless it registers an `act`.
 */
function watchReader(): { onLeft(act: () => void): void } {
  let hasLeft = false;
  let act = () => {};
  for (const stream of [process.stdout, process.stderr])
    stream.on("error", (error: NodeJS.ErrnoException) => {
      // A full disk, for example.
      if (error.code !== "EPIPE") {
        if (stream === process.stdout) console.error(`berth: The output cannot be written: ${oneLine(error.message)}.`);
        process.exit(1);
      }
      hasLeft = true;
      act();
    });
  return {
    onLeft: (given) => {
      act = given;
      if (hasLeft) act();
    },
  };
}

/** Ends the program once both streams have taken all that was written. A pipe holds 64 KiB; `process.exit` alone loses what is still in memory. */
async function exit(code: number): Promise<never> {
  const flush = (stream: NodeJS.WriteStream) => new Promise<void>((done) => stream.write("", () => done()));
  await Promise.all([flush(process.stdout), flush(process.stderr)]);
  process.exit(code);
}

const isHelpFlag = (word: string) => word === "--help" || word === "-h";

/**
 * Runs the command at the beginning of the arguments, or prints its help. Only a command that cleans up after Ctrl-C calls `interrupted`. Returns the
 * command's exit code, if it has one. Faults: SETTINGS_INVALID, and the command's own.
 */
export async function runCommand(
  context: CommandContext,
  { screen, interrupted, onReaderLeft }: { screen: Screen; interrupted(): AbortSignal; onReaderLeft?(act: () => void): void },
): Promise<number | void> {
  const [first = context.env["BERTH_ROLE"] ?? "help", ...args] = context.args;
  if (isHelpFlag(first)) return screen.print(overview(COMMANDS, screen.width));
  const { name, command: entry } = findCommand(first === "--version" ? "version" : first, COMMANDS, INTERNAL_COMMANDS);
  // Arguments after `--`, or of another program, are not berth's.
  const word = entry.runsProgram ? args.findIndex((arg) => !arg.startsWith("-")) : -1;
  const ends = [word, args.indexOf("--")].filter((at) => at >= 0);
  const own = name === "node" ? [] : args.slice(0, ends.length === 0 ? undefined : Math.min(...ends));
  if (own.some(isHelpFlag)) {
    const words = args.filter((word) => !isHelpFlag(word));
    return screen.print(await commandHelp(name, entry, words, screen.width));
  }
  const command = await entry.load();
  if ("verbs" in command) {
    const match = findVerb(name, command.verbs, args);
    const read = parseVerbArgs(name, match.name, match.verb, match.args);
    if (match.verb.endsWithReader) onReaderLeft?.(() => process.exit(0));
    let signal: AbortSignal | undefined;
    const call = {
      context: { ...context, args },
      ...(await withOutputFormat(read, screen)),
      commands: COMMANDS,
      // Ctrl-C ends a command that does not read this.
      get signal() {
        return (signal ??= interrupted());
      },
    };
    return match.verb.run(call).catch((error: unknown) => {
      if (signal?.aborted) throw signal.reason;
      throw error instanceof TypeError && "server" in match.verb.options ? unexpectedAnswer(error) : error;
    });
  }
  if (command.usage === undefined && args.length > 0)
    throw new Fault("SETTINGS_INVALID", `There is no place for ${JSON.stringify(args[0])}.\nUsage: berth ${name}`);
  return command.run({ ...context, args });
}
