import { KEY_FILE } from "../control/packages/credentials/key-file.ts";
import { backUp } from "../control/store/backup.ts";
import { join, resolve } from "node:path";
import { loadSettings } from "./command-context.ts";
import { defineVerb, type Verbs } from "./command.ts";
import { VERSION } from "./version.ts";

export const verbs: Verbs = {
  "": defineVerb({
    words: "<file>",
    summary: "write the store and the published files to a new file; berth can run meanwhile",
    details:
      "In it, too: keys that sign docker tokens (sealed), the token of gateways on other machines. Not in it: the key of the credentials, the first user's key, settings, certificates, images of a registry of berth's own.",
    options: { damaged: { summary: "write a damaged store too, to rescue what is left" } },
    completes: "files",
    run: async ({ context, words: [file = ""], options: { damaged = false }, screen }) => {
      const { settings } = loadSettings(context);
      const made = backUp({ folder: settings.data, file, isDamaged: damaged, version: VERSION, clock: context.clock });
      screen.print(
        `${made.file}: ${(made.bytes / 1_000_000).toFixed(1)} MB. Without the key of the credentials, which is ${keyPlace(settings)}: keep a copy elsewhere.`,
      );
    },
  }),
};

/** Where the key is that opens the credentials of a store. */
export function keyPlace({ data, credentialsKey }: { data: string; credentialsKey: readonly string[] }): string {
  return credentialsKey.length > 0 ? "in BERTH_CREDENTIALS_KEY" : `in ${join(resolve(data), KEY_FILE)}`;
}
