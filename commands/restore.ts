import { restore } from "../control/store/restore.ts";
import { keyPlace } from "./backup.ts";
import { settingsHere } from "./here.ts";
import { verb, type Verbs } from "./verb.ts";
import { VERSION } from "./version.ts";

export const verbs: Verbs = {
  "": verb({
    words: "<file>",
    says: "makes the store that `berth backup` wrote the one of the data folder, whose berth must not run; what was there is kept as a backup",
    more: "It is as its user that it is to be run.",
    options: {},
    completes: "files",
    run: async ({ here, words: [file = ""], screen }) => {
      const { settings } = settingsHere(here);
      const { madeOn, kept } = restore({ folder: settings.data, file, version: VERSION, clock: here.clock });
      screen.print(
        `${settings.data} is as it was on ${new Date(madeOn).toISOString()}.${kept === undefined ? "" : ` What was there is kept in ${kept}.`}`,
      );
      screen.print(`Its credentials need the key that sealed them, which belongs ${keyPlace(settings)}. Who had signed in signs in again.`);
    },
  }),
};
