import { Fault } from "../lib/fault.ts";
import { SCRIPTS, type Shell } from "./completion-scripts.ts";
import { verb, type Verbs } from "./verb.ts";

const SHELLS = Object.keys(SCRIPTS) as Shell[];

export const verbs: Verbs = {
  "": verb({
    words: "<shell>",
    says: `print what makes a shell complete berth's words: ${SHELLS.join(", ")}`,
    more: Object.entries(SCRIPTS)
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
