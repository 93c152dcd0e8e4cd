import { effectiveSettings } from "../conf/effective-settings.ts";
import type { ReadSettings } from "../conf/read-settings.ts";
import { loadSettings } from "./command-context.ts";
import { loadConfigFiles } from "./server/config-files.ts";
import { JSON_OPTION } from "./server/server-command.ts";
import { formatTable } from "./terminal.ts";
import { defineVerb, type Verbs } from "./command.ts";

export const verbs: Verbs = {
  "": defineVerb({
    words: "",
    summary: "print the effective settings and the source of each; secrets are ***",
    options: JSON_OPTION,
    run: async ({ context, options, screen }) =>
      options.json ? screen.json(settingsJson(loadSettings(context))) : screen.write(printSettings(loadSettings(context))),
  }),
  servers: defineVerb({
    words: "",
    summary: "list the servers of the config files, for --server; keys are never shown",
    details:
      "berth reads ~/.config/berth/config.yaml and ~/.grok/config.yaml, in the format of datagrok-tools:\n  servers:\n    dev: { url: https://dev.example/api, key: <developer key>, registry: registry.dev.example }\n  default: dev\nOnly berth's own file may set a default; without one it is the berth of this machine.",
    options: JSON_OPTION,
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
      if (configured.length === 0) return screen.print("No config file names a server. berth config servers --help shows the format.");
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

const UNSET = "(unset)";

/** Every setting with its value and source, one per line; a secret that is set is `***`. */
export function printSettings(loaded: Pick<ReadSettings, "settings" | "sources">): string {
  const lines = effectiveSettings(loaded).map(({ key, value, source }) => ({ name: `${key} = ${display(value)}`, source }));
  const width = Math.min(60, Math.max(...lines.map(({ name }) => name.length)));
  return lines.map(({ name, source }) => `${name.padEnd(width)}  # ${source}\n`).join("");
}

/** The settings as JSON; null: unset. */
export function settingsJson(loaded: Pick<ReadSettings, "settings" | "sources">): { key: string; value: unknown; source: string }[] {
  return effectiveSettings(loaded).map(({ key, value, source }) => ({ key, value, source }));
}

function display(value: unknown): string {
  if (value === null || (Array.isArray(value) && value.length === 0)) return UNSET;
  if (typeof value === "string") return value === "" ? '""' : value;
  return JSON.stringify(value);
}
