import { suggestion } from "../conf/suggestion.ts";
import { Fault } from "../lib/fault.ts";
import type { CommandContext } from "./command-context.ts";
import type { Screen } from "./terminal/screen.ts";
import { parseArgs, type ParseArgsConfig } from "node:util";

/** What a command's module has: its verbs; or `run`, which takes no words unless it has a `usage` and reads them itself. A number is the exit code. */
export type CommandModule = { verbs: Verbs } | { run(context: CommandContext): Promise<number | void>; usage?: string };

/** `summary` is one sentence without a full stop. `load` imports only what the command needs. */
export type Command = { section: keyof typeof HELP_SECTIONS; summary: string; load(): Promise<CommandModule> };

export type Commands = Readonly<Record<string, Command>>;

/** What help and the docs put commands under, in this order. */
export const HELP_SECTIONS = {
  containers: "Containers",
  inspect: "Finding out what is wrong",
  publish: "Publishing",
  users: "Users and secrets",
  run: "Running berth",
  maintain: "Looking after it",
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

/** What a word or an option's value may be, for shells that complete it. */
export type Completes = "containers" | "images" | "users" | "servers" | "commands" | "files" | "folders" | readonly string[];

/** `value` names the value in angle brackets; without it the option is a switch. `group` lists it separately in help, since many verbs share it. */
export type Option = { summary: string; value?: string; repeatable?: true; short?: string; completes?: Completes; group?: "server" };
export type Options = Readonly<Record<string, Option>>;

export type OptionValues<O extends Options> = {
  readonly [K in keyof O]?: O[K] extends { value: string } ? (O[K] extends { repeatable: true } ? string[] : string) : boolean;
};

type VerbCall<O extends Options> = {
  context: CommandContext;
  words: string[];
  options: OptionValues<O>;
  /** The table that this is in, for what is about commands. */
  commands: Commands;
  screen: Screen;
  /** Aborts when the person presses Ctrl-C. A verb that takes it has to end by it; the others end by themselves. */
  signal: AbortSignal;
};

/** One verb of a command. Help, the docs, completion and parsing come from this table. */
export type Verb<O extends Options = Options> = {
  /** As in a usage line: `<name>` is needed, `[<name>]` is not, and `...` behind one lets it come several times. */
  words: string;
  /** One sentence without its full stop, beginning with a small letter. */
  summary: string;
  /** Further lines for who asks for help. */
  details?: string;
  options: O;
  completes?: Completes;
  run(call: VerbCall<O>): Promise<void>;
};

/** By their names; the one without a name is the command itself. */
export type Verbs = Readonly<Record<string, Verb>>;

/** Keeps what is known of the options for `run`. */
export function defineVerb<const O extends Options>(of: Verb<O>): Verb {
  return of;
}

/** `berth users key add <login> [options]` */
export function usageLine(command: string, name: string, { words, options }: Verb): string {
  const segments = ["berth", command, name, words, Object.keys(options).length === 0 ? "" : "[options]"];
  return segments.filter((part) => part !== "").join(" ");
}

/** The verb that the words begin with, and those that are left for it. Faults: SETTINGS_INVALID. */
export function findVerb(command: string, verbs: Verbs, args: readonly string[]): { name: string; verb: Verb; args: string[] } {
  const names = Object.keys(verbs).toSorted((a, b) => b.length - a.length);
  const name = names.find((one) => one !== "" && `${args.join(" ")} `.startsWith(`${one} `)) ?? "";
  const verb = verbs[name];
  const [first] = args;
  const isWord = first !== undefined && !first.startsWith("-");
  if (verb && (name !== "" || !isWord || verb.words !== "" || names.length === 1))
    return { name, verb, args: args.slice(name === "" ? 0 : name.split(" ").length) };
  const verbNames = names.filter((one) => one !== "").toReversed();
  const meant = verbNames.filter((one) => isWord && one.startsWith(`${first} `));
  const wrong = isWord ? `There is no "berth ${command} ${first}"${suggestion(first, verbNames)}` : "Name what to do";
  throw new Fault(
    "SETTINGS_INVALID",
    `${wrong}; there are: ${(meant.length > 0 ? meant : verbNames).map((one) => `berth ${command} ${one}`).join(", ")}.`,
  );
}

/** Faults: SETTINGS_INVALID, with the usage. */
export function parseVerbArgs(command: string, name: string, verb: Verb, args: string[]): { words: string[]; options: OptionValues<Options> } {
  const usage = `Usage: ${usageLine(command, name, verb)}`;
  const options = Object.fromEntries(
    Object.entries(verb.options).map(([option, { value: takes, repeatable: many = false, short }]) => [
      option,
      { type: takes === undefined ? ("boolean" as const) : ("string" as const), multiple: many, ...(short === undefined ? {} : { short }) },
    ]),
  );
  const { values, positionals } = parseWords({ args, options, allowPositionals: true }, usage, Object.keys(options));
  const least = verb.words.replaceAll(/\[[^[\]]*\]/g, "").split("<").length - 1;
  const most = verb.words.includes("...") ? Number.POSITIVE_INFINITY : verb.words.split("<").length - 1;
  if (positionals.length >= least && positionals.length <= most && !positionals.slice(0, least).includes(""))
    return { words: positionals, options: values as OptionValues<Options> };
  const wrong = positionals.length > most ? `There is no place for ${JSON.stringify(positionals[most])}` : "Something is missing";
  throw new Fault("SETTINGS_INVALID", `${wrong}.\n${usage}`);
}

/** The words behind a command; one that is not among `config`'s is refused. Faults: SETTINGS_INVALID, with what is wrong and then `usage`. */
function parseWords<const T extends ParseArgsConfig>(config: T, usage: string, names: readonly string[] = []): ReturnType<typeof parseArgs<T>> {
  try {
    return parseArgs(config);
  } catch (error) {
    const [message = ""] = (error as Error).message.split(". ", 1);
    const unknownOption = /^Unknown option '--([^']+)'/.exec(message)?.[1];
    const near =
      unknownOption === undefined
        ? ""
        : suggestion(
            `--${unknownOption}`,
            names.map((name) => `--${name}`),
          );
    throw new Fault("SETTINGS_INVALID", `${message}${near}.\n${usage}`, { cause: error });
  }
}
