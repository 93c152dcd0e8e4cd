import { readFileSync } from "node:fs";
import { join } from "node:path";
import { parse } from "yaml";
import { Fault } from "../../lib/fault.ts";

/** A server of a config file, by its alias. */
export type ConfiguredServer = { alias: string; url: string; key: string | undefined; registry: string | undefined };

/** `own` is the file of berth's command line, which alone may name a default. */
export type ConfigFile = { path: string; own: boolean; servers: ConfiguredServer[]; default: string | undefined };

/**
 * The files in which servers and their keys are written down: berth's own, then that of datagrok-tools. Both have its format: `servers`, each with
 * `url`, `key` and `registry`, and `default`. A file that is not there is passed over. Faults: SETTINGS_INVALID.
 */
export function loadConfigFiles(env: NodeJS.ProcessEnv): ConfigFile[] {
  const home = env["HOME"] ?? "";
  if (home === "" && !env["XDG_CONFIG_HOME"]) return [];
  const own = join(env["XDG_CONFIG_HOME"] || join(home, ".config"), "berth/config.yaml");
  const files = [
    { path: own, own: true },
    { path: join(home, ".grok/config.yaml"), own: false },
  ];
  return files.flatMap(({ path, own }) => {
    const text = readText(path);
    return text === undefined ? [] : [{ path, own, ...readConfig(text, path) }];
  });
}

/** Nothing of the file is repeated in a fault: it holds keys. */
function readConfig(text: string, path: string): { servers: ConfiguredServer[]; default: string | undefined } {
  const wrong = (what: string) => new Fault("SETTINGS_INVALID", `${path}: ${what}.`);
  let config: unknown;
  try {
    config = parse(text);
  } catch {
    throw wrong("it is not YAML");
  }
  if (config === null || config === undefined) return { servers: [], default: undefined };
  const { servers = {}, default: chosen } = asRecord(config) ?? {};
  const records = asRecord(servers ?? {});
  if (!records) throw wrong("servers is no map of names to url and key");
  return {
    default: textOf(chosen),
    servers: Object.entries(records).map(([alias, value]) => {
      const { url, key, registry } = asRecord(value) ?? {};
      const address = textOf(url);
      if (address === undefined || !/^https?:$/.test(URL.parse(address)?.protocol ?? ""))
        throw wrong(`servers.${alias}.url is no http or https address`);
      return { alias, url: address, key: textOf(key), registry: textOf(registry) };
    }),
  };
}

function asRecord(value: unknown): Record<string, unknown> | undefined {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : undefined;
}

function textOf(value: unknown): string | undefined {
  return typeof value === "string" && value.trim() !== "" ? value.trim() : typeof value === "number" ? String(value) : undefined;
}

function readText(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch (cause) {
    if (["ENOENT", "ENOTDIR"].includes((cause as NodeJS.ErrnoException).code ?? "")) return undefined;
    throw new Fault("SETTINGS_INVALID", `${path} cannot be read: ${(cause as Error).message}.`, { cause });
  }
}
