import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { type Document, parse, parseDocument } from "yaml";
import { Fault } from "../../lib/fault.ts";
import { makeFolder } from "../../lib/make-folder.ts";
import { replaceFile } from "../../lib/replace-file.ts";

/** A server of a config file, by its alias. */
/** `token`: of a session that began at the server's sign-in provider, in place of a key. */
export type ConfiguredServer = {
  alias: string;
  url: string;
  key: string | undefined;
  token: string | undefined;
  registry: string | undefined;
  ca: string | undefined;
};

/** `own` is berth's own file; only that one may set a default. */
export type ConfigFile = { path: string; own: boolean; servers: ConfiguredServer[]; default: string | undefined };

/**
 * The files with servers and their keys: berth's own, then that of datagrok-tools. Both have `servers`, each with `url`, `key` and `registry`, and
 * `default`. Skips a missing file. Faults: SETTINGS_INVALID.
 */
export function loadConfigFiles(env: NodeJS.ProcessEnv): ConfigFile[] {
  const home = env["HOME"] ?? "";
  const own = ownConfigPath(env);
  if (own === undefined) return [];
  const files = [
    { path: own, own: true },
    { path: join(home, ".grok/config.yaml"), own: false },
  ];
  return files.flatMap(({ path, own }) => {
    const text = readText(path);
    return text === undefined ? [] : [{ path, own, ...readConfig(text, path) }];
  });
}

/** Berth's own file. Undefined for a user without a home. */
function ownConfigPath(env: NodeJS.ProcessEnv): string | undefined {
  const home = env["HOME"] ?? "";
  return home === "" && !env["XDG_CONFIG_HOME"] ? undefined : join(env["XDG_CONFIG_HOME"] || join(home, ".config"), "berth/config.yaml");
}

/**
 * Changes berth's own config file, and creates it if it is missing: mode 0600, since it contains keys. Comments stay. The new file replaces the old one at
 * once. Faults: SETTINGS_INVALID.
 */
export function changeOwnConfig(env: NodeJS.ProcessEnv, change: (document: Document) => void): string {
  const path = ownConfigPath(env);
  if (path === undefined) throw new Fault("SETTINGS_INVALID", "There is no home folder for the config file: set HOME or XDG_CONFIG_HOME.");
  const text = readText(path) ?? "";
  readConfig(text, path);
  const document = parseDocument(text);
  if (document.contents === null) document.contents = document.createNode({}) as unknown as typeof document.contents;
  change(document);
  try {
    makeFolder(dirname(path));
    replaceFile(path, document.toString(), { mode: 0o600 });
  } catch (cause) {
    throw new Fault("SETTINGS_INVALID", `${path} cannot be written: ${(cause as Error).message}.`, { cause });
  }
  return path;
}

/** Faults do not quote the file: it contains keys. */
function readConfig(text: string, path: string): { servers: ConfiguredServer[]; default: string | undefined } {
  const wrong = (what: string) => new Fault("SETTINGS_INVALID", `${path}: ${what}.`);
  let config: unknown;
  try {
    // Its warnings would quote lines, too.
    config = parse(text, { logLevel: "error" });
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
      const { url, key, token, registry, ca } = asRecord(value) ?? {};
      const address = textOf(url);
      if (address === undefined || !/^https?:$/.test(URL.parse(address)?.protocol ?? ""))
        throw wrong(`servers.${alias}.url is no http or https address`);
      return { alias, url: address, key: textOf(key), token: textOf(token), registry: textOf(registry), ca: textOf(ca) };
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
