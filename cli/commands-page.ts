import { type Command, HELP_SECTIONS, usageLine, type CommandVerb, EXIT_CODES } from "./command.ts";
import { SCRIPTS } from "./completion.ts";
import { aliasNote, optionWords } from "./help.ts";
import { COMMANDS } from "./table.ts";

const INTRO = `# Commands

<!-- Written by \`npm run docs\` from cli/table.ts and the commands' files; a test fails when it differs. -->

This page is for everybody who uses \`berth\` on a command line. \`berth help <command>\` prints the same text.

## Which server, and with whose key

\`\`\`sh
berth login https://berth.example      # asks for a developer key, saves it, and makes this server the current one
berth context ls                       # saved servers; none is the berth of this machine
berth context use none
berth ps --server https://berth.example --ca company-ca.pem   # for a certificate of an authority of your own
\`\`\`

Commands with \`--server\` call the REST API of a berth or of a Datagrok server. The first of these that is set selects the server:

1. \`--server\`, else \`BERTH_SERVER\`: an address such as \`https://berth.example\` (berth adds \`/api\` if it has no path), a saved name, or \`none\` for the
   berth of this machine;
2. the current server: the \`default\` of \`~/.config/berth/config.yaml\`, which \`berth login\` and \`berth context use\` set;
3. the berth of this machine, with the first user's key from its data folder (\`BERTH_DATA\`, else \`.berth\`).

\`\`\`yaml
# ~/.config/berth/config.yaml, mode 0600. berth also reads the servers of datagrok-tools in ~/.grok/config.yaml, but not its default.
servers:
  dev: { url: https://dev.example/api, key: <developer key>, registry: registry.dev.example, ca: /etc/ssl/company-ca.pem }
default: dev
\`\`\`

\`--ca\`, or \`ca\` in the file, adds an authority for the server's certificate. \`NODE_EXTRA_CA_CERTS\` does so for all programs that run on Node.

The first of these that is set gives the key: \`--key-file\` or \`--key\`; the alias; \`BERTH_KEY\` or \`BERTH_KEY_FILE\`; a config file with the same address.
Everybody on the machine can read \`--key\` in \`ps\`, so use it for trials only. Only \`berth users key add\` prints a key, the new one.

## Names, output, exit codes

Name a container or an image by its name, its id, or the beginning of either. If several match, the command lists them and does nothing.

On a terminal, berth cuts tables to its width and colours them, unless \`NO_COLOR\` is set. \`--json\` prints one JSON document; \`logs --json\` prints one per
line. Results go to standard output, messages to standard error.

| exit code | meaning |
| --- | --- |
`;

const COMPLETION = `
## Completion

A shell can complete commands, options, and the names of containers, images and users at the server:

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
  const also = aliasNote(command.aliases);
  if (!("verbs" in module)) return `\n### berth ${name}\n\n${sentence(command.summary + also)}\n`;
  const verbs = Object.entries(module.verbs);
  const [only] = verbs;
  if (only && verbs.length === 1) return `\n### ${heading(name, only[0], only[1])}\n\n${body(only[1], also)}`;
  const sections = verbs.map(([verb, one]) => `\n#### ${heading(name, verb, one)}\n\n${body(one)}`);
  return `\n### berth ${name}\n\n${sentence(command.summary + also)}\n${sections.join("")}`;
}

/** As code: Markdown takes words in angle brackets for HTML. */
function heading(command: string, name: string, verb: CommandVerb): string {
  return `\`${usageLine(command, name, verb)}\``;
}

function body({ summary, aliases, details, options }: CommandVerb, also = aliasNote(aliases)): string {
  const all = Object.entries(options);
  const own = all.filter(([, { group }]) => group === undefined);
  const rows = own.map(([name, option]) => `| \`${optionWords(name, option)}\` | ${cell(option.summary)} |\n`);
  const server = all.length === own.length ? "" : "| `--server`, `--key-file`, `--key` | [which server](#which-server-and-with-whose-key) |\n";
  const table = all.length === 0 ? "" : `\n| option | |\n| --- | --- |\n${rows.join("")}${server}`;
  return `${sentence(summary + also)}\n${details === undefined ? "" : `\n\`\`\`text\n${details}\n\`\`\`\n`}${table}`;
}

function sentence(text: string): string {
  return `${escaped(text.charAt(0).toUpperCase() + text.slice(1))}.`;
}

function cell(text: string): string {
  return escaped(text).replaceAll("|", "\\|");
}

function escaped(text: string): string {
  return text.replaceAll(/<([^<>]+)>/g, "\\<$1\\>");
}
