import { printSettings, settingsJson } from "../conf/print-settings.ts";
import { settingsHere } from "./command-context.ts";
import { readConfigFiles } from "./server/config-files.ts";
import { textTable } from "./terminal/text-table.ts";
import { verb, type Verbs } from "./command.ts";

export const verbs: Verbs = {
  "": verb({
    words: "",
    says: "print the effective settings and where each came from; secrets are ***",
    options: { json: { says: "one JSON document" } },
    run: async ({ here, given, screen }) =>
      given.json ? screen.json(settingsJson(settingsHere(here))) : screen.write(printSettings(settingsHere(here))),
  }),
  servers: verb({
    words: "",
    says: "the servers that config files name, for --server; keys are never shown",
    more: "They are read from ~/.config/berth/config.yaml and ~/.grok/config.yaml, in the format of datagrok-tools:\n  servers:\n    dev: { url: https://dev.example/api, key: <developer key>, registry: registry.dev.example }\n  default: dev\nOnly the default of berth's own file counts: without one, the berth of this machine is meant.",
    options: { json: { says: "one JSON document" } },
    run: async ({ here, given, screen }) => {
      const files = readConfigFiles(here.env);
      const known = files.flatMap(({ path, own, servers, default: chosen }) =>
        servers.map(({ alias, url, key, registry }) => ({
          alias,
          url,
          registry: registry ?? null,
          hasKey: key !== undefined,
          isDefault: own && alias === chosen,
          file: path,
        })),
      );
      if (given.json) return screen.json(known);
      if (known.length === 0) return screen.print("No config file names a server: berth config servers --help says what they look like.");
      const rows = known.map((one) => [one.alias + (one.isDefault ? " *" : ""), one.url, one.registry ?? "-", one.hasKey ? "yes" : "no", one.file]);
      screen.print(textTable(["ALIAS", "URL", "REGISTRY", "KEY", "FILE"], rows, screen));
    },
  }),
};
