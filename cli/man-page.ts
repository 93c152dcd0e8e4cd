import { type Commands, type CommandVerb, EXIT_CODES, HELP_SECTIONS, usageLine, type Verbs } from "./command.ts";
import { aliasNote, optionWords } from "./help.ts";
import { VERSION } from "./version.ts";

/** The manual page berth(1) in the macros of man(7), from the table that help and docs/reference/cli.md come from. */
export async function manPage(commands: Commands): Promise<string> {
  const lines = [
    `.TH BERTH 1 "" "berth ${VERSION}" "User Commands"`,
    ".SH NAME",
    "berth \\- start plugin containers on demand, and stop them when idle",
    ".SH SYNOPSIS",
    ".B berth",
    "\\fIcommand\\fR [\\fIoptions\\fR]",
    ".SH DESCRIPTION",
    escaped("Name containers and images by name, id, or the beginning of either. Results go to standard output, messages to standard error."),
  ];
  for (const [section, title] of Object.entries(HELP_SECTIONS)) {
    lines.push(`.SH ${title.toUpperCase()}`);
    for (const [name, command] of Object.entries(commands)) {
      if (command.section !== section) continue;
      const module = await command.load();
      if ("verbs" in module) lines.push(...verbsOf(name, module.verbs, aliasNote(command.aliases)));
      else lines.push(".TP", `.B berth ${escaped(name)}`, escaped(`${command.summary}${aliasNote(command.aliases)}`));
    }
  }
  lines.push(".SH EXIT STATUS");
  for (const { code, summary } of Object.values(EXIT_CODES).toSorted((a, b) => a.code - b.code)) lines.push(".TP", `.B ${code}`, escaped(summary));
  lines.push(".SH FILES", ".TP", ".I ~/.config/berth/config.yaml", "servers, their keys, and the current one (berth context)");
  lines.push(".TP", ".I berth.yaml, /etc/berth/berth.env", "settings; docs/reference/settings.md lists them");
  return `${lines.join("\n")}\n`;
}

function verbsOf(command: string, verbs: Verbs, also: string): string[] {
  return Object.entries(verbs).flatMap(([name, verb]) => [
    ".TP",
    `.B ${escaped(usageLine(command, name, verb))}`,
    escaped(`${verb.summary}${aliasNote(verb.aliases)}${name === "" ? also : ""}`),
    ...(verb.details ?? "").split("\n").flatMap((line) => (line === "" ? [] : [".br", escaped(line)])),
    ...optionsOf(verb),
  ]);
}

function optionsOf({ options }: CommandVerb): string[] {
  const rows = Object.entries(options);
  if (rows.length === 0) return [];
  return [".RS", ...rows.flatMap(([name, option]) => [".TP", `.B ${escaped(optionWords(name, option))}`, escaped(option.summary)]), ".RE"];
}

/** A backslash, and a dot or a quote at the beginning of a line, are roff's own; a hyphen of a command line must be copied as one. */
function escaped(text: string): string {
  return text.trimStart().replaceAll("\\", "\\e").replaceAll("-", "\\-").replace(/^[.']/, "\\&$&");
}
