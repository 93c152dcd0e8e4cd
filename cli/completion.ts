import { Fault } from "../lib/fault.ts";
import type { CommandContext } from "./command-context.ts";
import { type Commands, type CommandVerb, type Completes, defineVerb, type Option, typedVerb, type Verbs } from "./command.ts";
import { type EntityKind, listEntities } from "./server/server-client.ts";
import { loadConfigFiles } from "./server/config-files.ts";
import { selectServer } from "./server/server-command.ts";

/**
 * The scripts run `berth complete` for the words at the cursor, so that they work with newer versions and with names at the server. The output has lines
 * of `<word><tab><summary>`; the line `:files` or `:folders` lets the shell complete these itself.
 */
export const SCRIPTS = {
  bash: {
    enable: "berth completion bash > /etc/bash_completion.d/berth",
    script: `_berth() {
  local IFS=$'\\n' line words=("\${COMP_WORDS[@]:1:COMP_CWORD}")
  # Bash splits words at = and : too; berth does not.
  if [[ \${COMP_WORDBREAKS} == *[=:]* ]] && declare -F _get_comp_words_by_ref >/dev/null; then
    local cur parted cword
    _get_comp_words_by_ref -n =: -w parted -i cword -c cur
    words=("\${parted[@]:1:cword}")
  fi
  COMPREPLY=()
  while IFS= read -r line; do
    case $line in
    :files) COMPREPLY=($(compgen -f -- "\${words[-1]}")); compopt -o filenames ;;
    :folders) COMPREPLY=($(compgen -d -- "\${words[-1]}")); compopt -o filenames ;;
    *) COMPREPLY+=("\${line%%$'\\t'*}") ;;
    esac
  done < <("\${COMP_WORDS[0]}" complete -- "\${words[@]}" 2>/dev/null)
}
complete -F _berth berth
`,
  },
  zsh: {
    enable: "berth completion zsh > /usr/local/share/zsh/site-functions/_berth",
    script: `#compdef berth
_berth() {
  local line word
  local -a shown
  while IFS= read -r line; do
    case $line in
    :files) _files ;;
    :folders) _files -/ ;;
    *) word=\${line%%$'\\t'*}
      shown+=("\${word//:/\\\\:}:\${line#*$'\\t'}") ;;
    esac
  done < <("\${words[1]}" complete -- "\${(@)words[2,CURRENT]}" 2>/dev/null)
  (( \${#shown} )) && _describe berth shown
}
if [[ \${funcstack[1]} == _berth ]]; then _berth "$@"; else compdef _berth berth; fi
`,
  },
  fish: {
    enable: "berth completion fish > ~/.config/fish/completions/berth.fish",
    script: `function __berth
    set -l words (commandline -opc) (commandline -ct)
    for line in ($words[1] complete -- $words[2..] 2>/dev/null)
        switch $line
            case :files
                __fish_complete_path $words[-1]
            case :folders
                __fish_complete_directories $words[-1]
            case '*'
                echo $line
        end
    end
end
complete -c berth -f -a '(__berth)'
`,
  },
} as const;

type Shell = keyof typeof SCRIPTS;

const SHELLS = Object.keys(SCRIPTS) as Shell[];

export const COMPLETION: Verbs = {
  "": defineVerb({
    words: "<shell>",
    summary: `print the completion script of a shell: ${SHELLS.join(", ")}`,
    details: Object.entries(SCRIPTS)
      .map(([shell, { enable }]) => `${shell.padEnd(6)}${enable}`)
      .join("\n"),
    options: {},
    completes: SHELLS,
    run: async ({ words: [word = ""], screen }) => {
      const shell = SHELLS.find((one) => one === word);
      if (!shell) throw new Fault("SETTINGS_INVALID", `There is no completion for ${JSON.stringify(word)}. Shells: ${SHELLS.join(", ")}.`);
      screen.write(SCRIPTS[shell].script);
    },
  }),
};

/** A word that can follow, and its summary. */
type Candidate = [word: string, summary: string];
type CompletionKind = Exclude<Completes, readonly string[]>;

/** Users do not wait longer for a hint. */
const REQUEST_MS = 3_000;

/** `berth complete -- <word>...`, which shells run. The final word is incomplete. A failure gives no hints. */
export const COMPLETE: Verbs = {
  "": defineVerb({
    words: "[<word>...]",
    summary: "print the words that can follow",
    options: {},
    run: async ({ context, words, commands, screen }) => {
      const matches = await candidates({ here: context, commands }, words).catch(() => []);
      const typed = words.at(-1) ?? "";
      for (const [word, summary] of matches)
        if (word.startsWith(":") || word.startsWith(typed)) screen.print(summary === "" ? word : `${word}\t${summary}`);
    },
  }),
};

async function candidates(at: { here: CommandContext; commands: Commands }, words: readonly string[]): Promise<Candidate[]> {
  const { commands } = at;
  const [word = "", ...rest] = words;
  if (rest.length === 0) return commandNames(commands);
  const name = Object.hasOwn(commands, word) ? word : (Object.keys(commands).find((one) => commands[one]?.aliases?.includes(word)) ?? "");
  const module = await commands[name]?.load();
  if (!module || !("verbs" in module)) return [];
  const before = rest.slice(0, -1);
  const typed = rest.at(-1) ?? "";
  const { verb, args } = verbOf(module.verbs, before);
  const next = args.length < before.length ? [] : verbWords(module.verbs, before);
  if (!verb) return next;
  const value = valueOf(verb, before.at(-1));
  if (value) return namesOf(at, value.completes, before, verb);
  if (typed.startsWith("-")) return Object.entries(verb.options).map(([option, { summary }]) => [`--${option}`, summary]);
  const full = !verb.words.includes("...") && positionals(verb, args).length >= verb.words.split("<").length - 1;
  return [...next, ...(full ? [] : await namesOf(at, verb.completes, args, verb))];
}

/** Aliases too: users know `ps` from other programs. */
function commandNames(commands: Commands): Candidate[] {
  return Object.entries(commands).flatMap(([command, { summary, aliases = [] }]) => [command, ...aliases].map((name): Candidate => [name, summary]));
}

/** The verb, if it is complete, and its arguments. */
function verbOf(verbs: Verbs, before: readonly string[]): { verb: CommandVerb | undefined; args: readonly string[] } {
  const typed = typedVerb(verbs, before);
  return typed ? { verb: verbs[typed.name], args: before.slice(typed.length) } : { verb: verbs[""], args: before };
}

/** The next word of each verb that begins with these words. */
function verbWords(verbs: Verbs, before: readonly string[]): Candidate[] {
  const lead = before.map((word) => `${word} `).join("");
  const matches = Object.entries(verbs).filter(([name]) => name !== "" && name.startsWith(lead) && name.length > lead.length);
  const next = new Map<string, string>();
  for (const [name, { summary }] of matches) {
    const [word = "", ...further] = name.slice(lead.length).split(" ");
    const before = next.get(word);
    next.set(word, further.length === 0 ? summary : [...(before === undefined ? [] : [before]), further.join(" ")].join(", "));
  }
  return [...next];
}

/** The option whose value is being typed. */
function valueOf({ options }: CommandVerb, last: string | undefined): Option | undefined {
  const option = Object.entries(options).find(([name, { short }]) => last === `--${name}` || (short !== undefined && last === `-${short}`))?.[1];
  return option?.value === undefined ? undefined : option;
}

function positionals(verb: CommandVerb, args: readonly string[]): string[] {
  return args.filter((word, at) => !word.startsWith("-") && valueOf(verb, args[at - 1]) === undefined);
}

async function namesOf(
  at: { here: CommandContext; commands: Commands },
  completes: Completes | undefined,
  args: readonly string[],
  verb: CommandVerb,
): Promise<Candidate[]> {
  if (completes === undefined) return [];
  if (typeof completes !== "string") return completes.map((word) => [word, ""]);
  return NAME_SOURCES[completes](at, serverOptionsIn(args), positionals(verb, args));
}

/** The server options that are complete. */
function serverOptionsIn(args: readonly string[]): { server?: string; "key-file"?: string } {
  const after = (option: string) => {
    const index = args.indexOf(option);
    return index === -1 ? undefined : args[index + 1];
  };
  const [server, file] = [after("--server"), after("--key-file")];
  return { ...(server === undefined ? {} : { server }), ...(file === undefined ? {} : { "key-file": file }) };
}

type NameSource = (
  at: { here: CommandContext; commands: Commands },
  serverOptions: { server?: string; "key-file"?: string },
  given: readonly string[],
) => Promise<Candidate[]>;

/** The names of each kind, without those that are already there. */
const NAME_SOURCES: Record<CompletionKind, NameSource> = {
  containers: entityNames("containers"),
  images: entityNames("images"),
  users: async ({ here: context }, serverOptions, given) =>
    given.length > 0
      ? []
      : withTimeLimit(context, async () => {
          const users = await selectServer(context, serverOptions).call<{ login: string; admin: boolean }[]>("GET", "/users");
          return users.map(({ login, admin }): Candidate => [login, admin ? "admin" : "user"]);
        }),
  servers: async ({ here: context }) =>
    loadConfigFiles(context.env).flatMap(({ servers }) => servers.map(({ alias, url }): Candidate => [alias, url])),
  commands: async ({ commands }, _serverOptions, [name]) => {
    if (name === undefined) return commandNames(commands);
    const module = await commands[name]?.load();
    return module && "verbs" in module ? verbWords(module.verbs, []) : [];
  },
  files: async () => [[":files", ""]],
  folders: async () => [[":folders", ""]],
};

function entityNames(kind: EntityKind): NameSource {
  return ({ here: context }, serverOptions, given) =>
    withTimeLimit(context, async () => {
      const all = await listEntities(selectServer(context, serverOptions), kind);
      return all.flatMap(({ name, status }): Candidate[] => (given.includes(name) ? [] : [[name, status]]));
    });
}

async function withTimeLimit(context: CommandContext, load: () => Promise<Candidate[]>): Promise<Candidate[]> {
  return Promise.race([load(), context.clock.sleep(REQUEST_MS).then(() => [])]);
}
