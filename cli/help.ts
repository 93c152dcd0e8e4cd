import { findCommand } from "./command.ts";
import { exitLines, helpOf, overview } from "./help-pages.ts";
import { verb, type Verbs } from "./verb.ts";

export const verbs: Verbs = {
  "": verb({
    words: "[<command>] [<verb>...]",
    says: "print what commands there are, or all about one",
    more: `A command ends with one of these numbers:\n${exitLines().join("\n")}`,
    options: {},
    completes: "commands",
    run: async ({ words: [name, ...words], commands, screen }) => {
      screen.print(name === undefined ? overview(commands, screen.width) : await helpOf(name, findCommand(name, commands), words, screen.width));
    },
  }),
};
