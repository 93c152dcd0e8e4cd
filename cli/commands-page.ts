import { type Command, HELP_SECTIONS, usageLine, type CommandVerb, EXIT_CODES } from "./command.ts";
import { SCRIPTS } from "./completion.ts";
import { optionWords } from "./help.ts";
import { COMMANDS } from "./table.ts";

const INTRO = `# Commands

<!-- Written by \`npm run docs\` from cli/table.ts and what it names; a test notices when it differs. -->

\`berth <command>\`: its processes, and what talks to one that runs. \`berth help <command>\` prints what stands here.

## Which server, and with whose key

Commands with \`--server\` talk to a berth, or a Datagrok server, by its public REST. In this order:

1. \`--server\` or else \`BERTH_SERVER\`: an address (\`https://berth.example\`; without a path, \`/api\` is meant), or an alias of a config file;
2. the \`default\` of \`~/.config/berth/config.yaml\`;
3. the berth of this machine: its data folder (\`BERTH_DATA\`, else \`.berth\`) has the first user's key.

\`\`\`yaml
# ~/.config/berth/config.yaml, for your eyes only (mode 0600); ~/.grok/config.yaml of datagrok-tools is read too, but for its default
servers:
  dev: { url: https://dev.example/api, key: <developer key>, registry: registry.dev.example }
default: dev
\`\`\`

The key is that of \`--key-file\` or \`--key\`, else that of the alias, else \`BERTH_KEY\` or the file \`BERTH_KEY_FILE\` names, else one that a config file has for
the same address. \`--key\` can be read by everybody on the machine, by \`ps\`: for trying out only. No key is printed but a new one, by \`berth users key add\`.

## Names, tables, numbers

A container or an image is named by its name, its id, or the beginning of either; where that fits several, they are listed and nothing is done.

On a terminal, tables are cut to its width and coloured (not with \`NO_COLOR\`); elsewhere they are whole and plain. \`--json\` prints one JSON document, for
\`logs\` one a line. Results go to standard output, messages to standard error.

| ends with | means |
| --- | --- |
`;

const COMPLETION = `
## Completion

Words, options, and the names of containers, images and users at the server:

\`\`\`sh
`;

/** The page docs/reference/cli.md. */
export async function commandsPage(): Promise<string> {
  const exits = Object.values(EXIT_CODES)
    .toSorted((a, b) => a.code - b.code)
    .map(({ code, summary }) => `| ${code} | ${summary} |\n`);
  const scripts = Object.values(SCRIPTS).map(({ enable }) => `${enable}\n`);
  const sections = [];
  for (const [section, title] of Object.entries(HELP_SECTIONS)) {
    const rows = Object.entries(COMMANDS).filter(([, command]) => command.section === section);
    sections.push(`\n## ${title}\n`, ...(await Promise.all(rows.map(([name, command]) => commandSection(name, command)))));
  }
  return `${INTRO}${exits.join("")}${COMPLETION}${scripts.join("")}\`\`\`\n${sections.join("")}`;
}

async function commandSection(name: string, command: Command): Promise<string> {
  const module = await command.load();
  if (!("verbs" in module)) return `\n### berth ${name}\n\n${sentence(command.summary)}\n`;
  const verbs = Object.entries(module.verbs);
  const [only] = verbs;
  if (only && verbs.length === 1) return `\n### ${heading(name, only[0], only[1])}\n\n${body(only[1])}`;
  const sections = verbs.map(([verb, one]) => `\n#### ${heading(name, verb, one)}\n\n${body(one)}`);
  return `\n### berth ${name}\n\n${sentence(command.summary)}\n${sections.join("")}`;
}

/** Words in angle brackets would be taken for HTML. */
function heading(command: string, name: string, verb: CommandVerb): string {
  return `\`${usageLine(command, name, verb)}\``;
}

function body({ summary: says, details, options }: CommandVerb): string {
  const all = Object.entries(options);
  const own = all.filter(([, { group }]) => group === undefined);
  const rows = own.map(([name, option]) => `| \`${optionWords(name, option)}\` | ${cell(option.summary)} |\n`);
  const server = all.length === own.length ? "" : "| `--server`, `--key-file`, `--key` | [which server](#which-server-and-with-whose-key) |\n";
  const table = all.length === 0 ? "" : `\n| option | |\n| --- | --- |\n${rows.join("")}${server}`;
  return `${sentence(says)}\n${details === undefined ? "" : `\n\`\`\`text\n${details}\n\`\`\`\n`}${table}`;
}

function sentence(says: string): string {
  return `${escaped(says.charAt(0).toUpperCase() + says.slice(1))}.`;
}

function cell(text: string): string {
  return escaped(text).replaceAll("|", "\\|");
}

function escaped(text: string): string {
  return text.replaceAll(/<([^<>]+)>/g, "\\<$1\\>");
}
