import { Fault } from "../lib/fault.ts";
import { defineVerb, type Verbs } from "./command.ts";

/**
 * What a shell needs to know: it asks `berth complete` for what may stand where the cursor is, so that a newer berth, and what there is at the server, need no
 * new script. Each takes lines of `<word><tab><what it is>`; a last line of `:files` or `:folders` lets the shell complete these itself.
 */
export const SCRIPTS = {
  bash: {
    enable: "berth completion bash > /etc/bash_completion.d/berth",
    script: `_berth() {
  local IFS=$'\\n' line words=("\${COMP_WORDS[@]:1:COMP_CWORD}")
  # Bash parts words at these too, which are no ends of words here.
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

export const verbs: Verbs = {
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
      if (!shell) throw new Fault("SETTINGS_INVALID", `There is no completion for ${JSON.stringify(word)}; there is for ${SHELLS.join(", ")}.`);
      screen.write(SCRIPTS[shell].script);
    },
  }),
};
