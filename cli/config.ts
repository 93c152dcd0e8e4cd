import { printSettings, settingsJson } from "../conf/print-settings.ts";
import { loadSettings } from "./command-context.ts";
import { loadConfigFiles } from "./server/choose-server.ts";
import { formatTable } from "./terminal/format.ts";
import { defineVerb, type Verbs } from "./command.ts";

export const verbs: Verbs = {
  "": defineVerb({
    words: "",
    summary: "print the effective settings and the source of each; secrets are ***",
    options: { json: { summary: "print one JSON document" } },
    run: async ({ context, options, screen }) =>
      options.json ? screen.json(settingsJson(loadSettings(context))) : screen.write(printSettings(loadSettings(context))),
  }),
  servers: defineVerb({
    words: "",
    summary: "list the servers of the config files, for --server; keys are never shown",
    details:
      "They are read from ~/.config/berth/config.yaml and ~/.grok/config.yaml, in the format of datagrok-tools:\n  servers:\n    dev: { url: https://dev.example/api, key: <developer key>, registry: registry.dev.example }\n  default: dev\nOnly the default of berth's own file counts: without one, the berth of this machine is meant.",
    options: { json: { summary: "print one JSON document" } },
    run: async ({ context, options, screen }) => {
      const files = loadConfigFiles(context.env);
      const configured = files.flatMap(({ path, own, servers, default: chosen }) =>
        servers.map(({ alias, url, key, registry }) => ({
          alias,
          url,
          registry: registry ?? null,
          hasKey: key !== undefined,
          isDefault: own && alias === chosen,
          file: path,
        })),
      );
      if (options.json) return screen.json(configured);
      if (configured.length === 0) return screen.print("No config file names a server: berth config servers --help says what they look like.");
      const rows = configured.map((one) => [
        one.alias + (one.isDefault ? " *" : ""),
        one.url,
        one.registry ?? "-",
        one.hasKey ? "yes" : "no",
        one.file,
      ]);
      screen.print(formatTable(["ALIAS", "URL", "REGISTRY", "KEY", "FILE"], rows, screen));
    },
  }),
};
