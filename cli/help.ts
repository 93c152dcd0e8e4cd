import {
  findCommand,
  defineVerb,
  type Verbs,
  type Command,
  type CommandModule,
  type Commands,
  HELP_SECTIONS,
  findVerb,
  type Option,
  usageLine,
  type CommandVerb,
  EXIT_CODES,
} from "./command.ts";
import { wrapText } from "./terminal.ts";
import { VERSION } from "./version.ts";

export const verbs: Verbs = {
  "": defineVerb({
    words: "[<command>] [<verb>...]",
    summary: "print all commands, or one command's help",
    details: `Exit codes:\n${exitLines().join("\n")}`,
    options: {},
    completes: "commands",
    run: async ({ words: [word, ...words], commands, screen }) => {
      if (word === undefined) return screen.print(overview(commands, screen.width));
      const { name, command } = findCommand(word, commands);
      screen.print(await commandHelp(name, command, words, screen.width));
    },
  }),
};

/** Without a terminal. */
const DEFAULT_WIDTH = 100;

/** A verb's own options come first. */
const OPTION_GROUPS = [
  ["Options", undefined],
  ["Which server", "server"],
] as const;

/** The output of `berth help`. */
export function overview(commands: Commands, width: number = DEFAULT_WIDTH): string {
  const sections = Object.entries(HELP_SECTIONS).map(([section, title]) => {
    const rows = Object.entries(commands).filter(([, command]) => command.section === section);
    return `${title}:\n${inColumns(
      rows.map(([name, command]) => [name, `${command.summary}${aliasNote(command.aliases)}`]),
      width,
      Math.max(...Object.keys(commands).map((name) => name.length)),
    ).join("\n")}`;
  });
  return `berth ${VERSION}: starts plugin containers on demand, and stops them when idle

Usage: berth <command> [options]

${sections.join("\n\n")}

${wrapText("berth help <command> prints more. Name containers and images by name, id, or the beginning of either. Settings come from the environment and berth.yaml: docs/reference/settings.md.", 0, width)}`;
}

/** The output of `berth <command> [<verb>] --help`. */
export async function commandHelp(name: string, command: Command, words: readonly string[], width: number = DEFAULT_WIDTH): Promise<string> {
  const module: CommandModule = await command.load();
  if (!("verbs" in module)) return module.usage ?? `Usage: berth ${name}\n  ${command.summary}`;
  if (words.length > 0 || Object.keys(module.verbs).length === 1) {
    const match = verbOf(name, module.verbs, words);
    if (match) return verbPage(name, match.name, match.verb, width);
  }
  const verbs = Object.entries(module.verbs).map(
    ([verb, one]) => `  ${usageLine(name, verb, one)}\n${wrapText(`      ${one.summary}${aliasNote(one.aliases)}`, 6, width)}`,
  );
  return `${wrapText(`berth ${name}: ${command.summary}${aliasNote(command.aliases)}`, 0, width)}\n\n${verbs.join("\n")}\n\nberth ${name} <verb> --help prints more.`;
}

/** ` (also: ps)`, or nothing. */
export function aliasNote(aliases: readonly string[] = []): string {
  return aliases.length === 0 ? "" : ` (also: ${aliases.join(", ")})`;
}

/** Undefined for unknown words: help prints the command then. */
function verbOf(command: string, verbs: Verbs, words: readonly string[]): { name: string; verb: CommandVerb } | undefined {
  try {
    return findVerb(command, verbs, [...words]);
  } catch {
    return undefined;
  }
}

function verbPage(command: string, name: string, verb: CommandVerb, width: number): string {
  const lines = [`Usage: ${usageLine(command, name, verb)}`, wrapText(`  ${verb.summary}${aliasNote(verb.aliases)}`, 2, width)];
  if (verb.details !== undefined) lines.push("", ...verb.details.split("\n").map((line) => wrapText(`  ${line}`, 4, width)));
  const all = Object.entries(verb.options);
  for (const [title, name] of OPTION_GROUPS) {
    const options = all.filter(([, option]) => option.group === name);
    if (options.length > 0) lines.push("", `${title}:`, ...optionLines(options, width));
  }
  return lines.join("\n");
}

function optionLines(options: [string, Option][], width: number): string[] {
  return inColumns(
    options.map(([name, option]) => [optionWords(name, option), option.summary]),
    width,
  );
}

function inColumns(rows: readonly (readonly [string, string])[], width: number, first = Math.max(...rows.map(([word]) => word.length))): string[] {
  return rows.map(([word, says]) => `  ${word}`.padEnd(first + 4) + wrapText(" ".repeat(first + 4) + says, first + 4, width).trimStart());
}

/** `-f, --follow`, `--tail <lines>` */
export function optionWords(name: string, { value, short, repeatable }: Option): string {
  return `${short === undefined ? "" : `-${short}, `}--${name}${value === undefined ? "" : ` ${value}`}${repeatable ? "..." : ""}`;
}

/** The exit codes, a line each. */
function exitLines(): string[] {
  return Object.values(EXIT_CODES)
    .toSorted((a, b) => a.code - b.code)
    .map(({ code, summary }) => `${String(code).padStart(5)}  ${summary}`);
}
