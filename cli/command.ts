import { parseArgs } from "node:util";
import { suggestion } from "../conf/suggestion.ts";
import { Fault, type FaultCode } from "../lib/fault.ts";
import type { CommandContext } from "./command-context.ts";
import type { Screen } from "./terminal.ts";

/** A command has verbs; or `run`, which reads its arguments itself if there is a `usage`, and else takes none. A number is the exit code. */
export type CommandModule = { verbs: Verbs } | { run(context: CommandContext): Promise<number | void>; usage?: string };

/** `summary` is one sentence without a full stop. `load` imports only what the command needs. `aliases` are other names of the command. */
export type Command = {
  section: keyof typeof HELP_SECTIONS;
  summary: string;
  aliases?: readonly string[];
  /** What comes after its first word belongs to another program, options too. */
  runsProgram?: true;
  load(): Promise<CommandModule>;
};

export type Commands = Readonly<Record<string, Command>>;

/** The headings of help and docs, in their order. */
export const HELP_SECTIONS = {
  containers: "Containers",
  inspect: "Diagnosis",
  publish: "Publishing",
  users: "Users and secrets",
  run: "Running berth",
  maintain: "Maintenance",
  shell: "Command line",
} as const;

/** The command with this name or alias, and its name. Faults: SETTINGS_INVALID. */
export function findCommand(word: string, commands: Commands, internal: Commands = {}): { name: string; command: Command } {
  for (const table of [commands, internal]) {
    const name = Object.hasOwn(table, word) ? word : Object.keys(table).find((one) => table[one]?.aliases?.includes(word));
    const command = name === undefined ? undefined : table[name];
    if (name !== undefined && command) return { name, command };
  }
  const names = Object.entries(commands).flatMap(([name, { aliases = [] }]) => [name, ...aliases]);
  throw new Fault("SETTINGS_INVALID", `There is no command ${JSON.stringify(word)}${suggestion(word, names)}; berth help lists all.`);
}

/** The kind of an argument or an option's value, for shells that complete it. */
export type Completes = "containers" | "images" | "users" | "servers" | "commands" | "files" | "folders" | readonly string[];

/**
 * `value` names the value in angle brackets; without it the option is a switch. If `completes` is a list, other values are refused. `group` lists the option
 * separately in help, since many verbs share it.
 */
export type Option = { summary: string; value?: string; repeatable?: true; short?: string; completes?: Completes; group?: "server" };
export type Options = Readonly<Record<string, Option>>;

export type OptionValues<O extends Options> = {
  readonly [K in keyof O]?: O[K] extends { value: string } ? (O[K] extends { repeatable: true } ? string[] : string) : boolean;
};

type VerbCall<O extends Options> = {
  context: CommandContext;
  words: string[];
  options: OptionValues<O>;
  /** The table of this command, for help and completion. */
  commands: Commands;
  screen: Screen;
  /** Aborts on Ctrl-C. A verb that reads it must end then; Ctrl-C ends the others at once. */
  signal: AbortSignal;
};

/** One verb of a command. Help, the docs, completion and parsing come from this table. */
export type CommandVerb<O extends Options = Options> = {
  /** The arguments, as in a usage line: `<name>` is required, `[<name>]` optional, `...` repeats it. */
  words: string;
  /** One sentence, lower-case, without a full stop. */
  summary: string;
  /** Other names of the verb. Help mentions them; shells do not complete them. */
  aliases?: readonly string[];
  /** More lines for `--help`. */
  details?: string;
  options: O;
  completes?: Completes;
  /** As in `Command`. */
  runsProgram?: true;
  /** It may print until Ctrl-C, so it also ends when the reader of its output closes the pipe. Others go on to their end without output. */
  endsWithReader?: true;
  /** A number is the exit code. */
  run(call: VerbCall<O>): Promise<number | void>;
};

/** By name; the verb with the empty name is the command itself. */
export type Verbs = Readonly<Record<string, CommandVerb>>;

/** Gives `run` the types of its options. */
export function defineVerb<const O extends Options>(of: CommandVerb<O>): CommandVerb {
  return of;
}

/** `berth users key add <login> [options]` */
export function usageLine(command: string, name: string, { words, options }: CommandVerb): string {
  const segments = ["berth", command, name, words, Object.keys(options).length === 0 ? "" : "[options]"];
  return segments.filter((part) => part !== "").join(" ");
}

/** The verb at the beginning of the arguments, and the rest of them. Faults: SETTINGS_INVALID. */
export function findVerb(command: string, verbs: Verbs, args: readonly string[]): { name: string; verb: CommandVerb; args: string[] } {
  const names = Object.keys(verbs).toSorted((a, b) => b.length - a.length);
  const typed = typedVerb(verbs, args);
  const { name, length } = typed ?? { name: "", length: 0 };
  const verb = verbs[name];
  const [first] = args;
  const isWord = first !== undefined && !first.startsWith("-");
  if (verb && (name !== "" || !isWord || verb.words !== "" || names.length === 1)) return { name, verb, args: args.slice(length) };
  const verbNames = names.filter((one) => one !== "").toReversed();
  const meant = verbNames.filter((one) => isWord && one.startsWith(`${first} `));
  const wrong = isWord ? `There is no "berth ${command} ${first}"${suggestion(first, verbNames)}` : "Name what to do";
  throw new Fault(
    "SETTINGS_INVALID",
    `${wrong}; there are: ${(meant.length > 0 ? meant : verbNames).map((one) => `berth ${command} ${one}`).join(", ")}.`,
  );
}

/** The verb whose name or alias the words begin with, and how many words that is. The longest one wins. */
export function typedVerb(verbs: Verbs, words: readonly string[]): { name: string; length: number } | undefined {
  const line = `${words.join(" ")} `;
  return Object.entries(verbs)
    .flatMap(([name, { aliases = [] }]) => [name, ...aliases].map((spelling) => ({ name, spelling })))
    .filter(({ spelling }) => spelling !== "" && line.startsWith(`${spelling} `))
    .map(({ name, spelling }) => ({ name, length: spelling.split(" ").length }))
    .toSorted((a, b) => b.length - a.length)[0];
}

/** Faults: SETTINGS_INVALID for a value that the option does not take. */
function requireAllowedValues(options: Options, values: Record<string, unknown>): void {
  for (const [name, value] of Object.entries(values)) {
    const allowed = options[name]?.completes;
    if (!Array.isArray(allowed)) continue;
    for (const one of [value].flat() as string[])
      if (!allowed.includes(one))
        throw new Fault(
          "SETTINGS_INVALID",
          `--${name} does not take ${JSON.stringify(one)}${suggestion(one, allowed)}. Allowed: ${allowed.join(", ")}.`,
        );
  }
}

/** Faults: SETTINGS_INVALID, with the usage. */
export function parseVerbArgs(command: string, name: string, verb: CommandVerb, args: string[]): { words: string[]; options: OptionValues<Options> } {
  const usage = `Usage: ${usageLine(command, name, verb)}`;
  const options = Object.fromEntries(
    Object.entries(verb.options).map(([option, { value: takes, repeatable: many = false, short }]) => [
      option,
      { type: takes === undefined ? ("boolean" as const) : ("string" as const), multiple: many, ...(short === undefined ? {} : { short }) },
    ]),
  );
  if (verb.runsProgram) args = endOptionsAfterWord(args, options);
  const { values, positionals } = parse();
  requireAllowedValues(verb.options, values);
  const least = verb.words.replaceAll(/\[[^[\]]*\]/g, "").split("<").length - 1;
  const most = verb.words.includes("...") ? Number.POSITIVE_INFINITY : verb.words.split("<").length - 1;
  if (positionals.length >= least && positionals.length <= most && !positionals.slice(0, least).includes(""))
    return { words: positionals, options: values as OptionValues<Options> };
  const wrong =
    positionals.length > most ? `There is no place for ${JSON.stringify(positionals[most])}` : `Missing: ${missingWord(verb.words, positionals)}`;
  throw new Fault("SETTINGS_INVALID", `${wrong}.\n${usage}`);

  function parse() {
    try {
      return parseArgs({ args: joinDashedValues(args, options), options, allowPositionals: true });
    } catch (error) {
      const [message = ""] = (error as Error).message.split(/\.\s/, 1);
      const [, unknown] = /^Unknown option '(--[^']+)'/.exec(message) ?? [];
      const names = Object.keys(options).map((option) => `--${option}`);
      throw new Fault("SETTINGS_INVALID", `${message}${unknown === undefined ? "" : suggestion(unknown, names)}.\n${usage}`, { cause: error });
    }
  }
}

/** `-t web ls -la` becomes `-t web -- ls -la`. */
function endOptionsAfterWord(args: readonly string[], options: Readonly<Record<string, { type: "boolean" | "string"; short?: string }>>): string[] {
  const takesValue = (arg: string) =>
    Object.entries(options).some(([name, { type, short }]) => type === "string" && (arg === `--${name}` || arg === `-${short}`));
  let at = 0;
  while (at < args.length && args[at] !== "--" && args[at]!.startsWith("-")) at += takesValue(args[at]!) ? 2 : 1;
  // The word itself may come after `--`.
  if (at >= args.length || args[at] === "--") return [...args];
  const rest = args.slice(at + 1);
  return [...args.slice(0, at + 1), "--", ...(rest[0] === "--" ? rest.slice(1) : rest)];
}

/** The first required argument that is missing or empty, as the usage line names it. */
function missingWord(words: string, given: readonly string[]): string {
  const required = words.replaceAll(/\[[^[\]]*\]/g, "").match(/<[\w.:=/-]+>/g) ?? [];
  return required.find((_word, at) => (given[at] ?? "") === "") ?? words;
}

/**
 * `--key -abc` becomes `--key=-abc`, and `-k -abc` becomes `-k-abc`: generated keys may begin with a dash, which parseArgs calls ambiguous. What names an
 * option stays one, so that a forgotten value is still reported.
 */
function joinDashedValues(args: readonly string[], options: Readonly<Record<string, { type: "boolean" | "string"; short?: string }>>): string[] {
  const isOption = (arg: string) =>
    arg === "--" || Object.entries(options).some(([name, { short }]) => arg === `--${name}` || arg.startsWith(`--${name}=`) || arg === `-${short}`);
  const joined: string[] = [];
  for (let at = 0; at < args.length; at += 1) {
    const arg = args[at]!;
    if (arg === "--") return [...joined, ...args.slice(at)];
    const value = args[at + 1];
    const option = arg.startsWith("--") ? options[arg.slice(2)] : Object.values(options).find(({ short }) => arg === `-${short}`);
    const takesValue = option?.type === "string";
    const isDashed = takesValue && value !== undefined && value.length > 1 && value.startsWith("-") && !isOption(value);
    joined.push(isDashed ? `${arg}${arg.startsWith("--") ? "=" : ""}${value}` : arg);
    if (isDashed) at += 1;
  }
  return joined;
}

/** Faults: SETTINGS_INVALID. */
export function requireHttpUrl(url: string): string {
  if (/^https?:\/\//.test(url) && URL.canParse(url)) return url;
  throw new Fault("SETTINGS_INVALID", `${JSON.stringify(url)} is no http or https address.`);
}

/** A response that is not berth's. `cause`: what it led to. */
export function unexpectedAnswer(cause?: TypeError): Fault {
  const detail = cause === undefined ? "" : ` (${cause.message})`;
  const sentence = `The server answers, but not as a server of this version of berth does${detail}. Check its address with berth context ls, and its version.`;
  return new Fault("CONTROL_AWAY", sentence, { cause });
}

type ExitCode = { code: number; summary: string; faults?: readonly FaultCode[]; statuses?: readonly number[] };

/** A command exits with the first row that has the fault's code or status. Scripts compare these numbers: never change one. */
export const EXIT_CODES = {
  done: { code: 0, summary: "done" },
  usage: { code: 2, summary: "the command line or the settings are wrong; nothing was done", faults: ["SETTINGS_INVALID"] },
  away: {
    code: 5,
    summary: "the server, its registry or the Docker engine cannot be reached",
    faults: ["CONTROL_AWAY", "DATAGROK_AWAY", "REGISTRY_UNREACHABLE", "ENGINE_UNREACHABLE"],
  },
  missing: { code: 3, summary: "it does not exist", statuses: [404] },
  refused: { code: 4, summary: "not signed in, or not allowed", statuses: [401, 403] },
  failed: { code: 1, summary: "any other failure" },
  interrupted: { code: 130, summary: "interrupted by Ctrl-C or a signal" },
} as const satisfies Record<string, ExitCode>;

/** After Ctrl-C: not a failure, and no message. */
export class Interrupted extends Error {}

/** Tries each, whatever becomes of the others. Faults: only those that end the command; an expected one is returned. */
export async function tryEach<Item, Result>(
  items: readonly Item[],
  attempt: (item: Item) => Promise<Result>,
  signal: AbortSignal,
): Promise<{ results: Result[]; faults: Fault[] }> {
  const results: Result[] = [];
  const faults: Fault[] = [];
  for (const outcome of await Promise.allSettled(items.map(attempt))) {
    if (outcome.status === "fulfilled") results.push(outcome.value);
    else if (outcome.reason instanceof Fault && !signal.aborted) faults.push(outcome.reason);
    else throw outcome.reason;
  }
  return { results, faults };
}

/** Ends the command if there are faults: with all their sentences, and the code of the first. */
export function throwFaults([first, ...others]: readonly Fault[]): void {
  if (first !== undefined) throw others.length === 0 ? first : new Fault(first.code, [first, ...others].map(({ message }) => message).join("\n"));
}

export function exitCodeOf(error: unknown): number {
  if (error instanceof Interrupted) return EXIT_CODES.interrupted.code;
  if (!(error instanceof Fault)) return EXIT_CODES.failed.code;
  const rows: ExitCode[] = Object.values(EXIT_CODES);
  return (rows.find(({ faults = [], statuses = [] }) => faults.includes(error.code) || statuses.includes(error.status)) ?? EXIT_CODES.failed).code;
}
