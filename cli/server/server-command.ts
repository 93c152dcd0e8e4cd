import { readFileSync } from "node:fs";
import { join } from "node:path";
import { parse } from "yaml";
import type { Settings } from "../../conf/settings.ts";
import { suggestion } from "../../conf/suggestion.ts";
import { trimTrailing } from "../../lib/character-classes.ts";
import { Fault } from "../../lib/fault.ts";
import { type CommandContext, loadSettings, loadTextFile, localServer } from "../command-context.ts";
import { type CommandVerb, type Completes, defineVerb, type Options, type OptionValues } from "../command.ts";
import type { Screen } from "../terminal.ts";
import { type CallApi, createServerClient, type ServerClient } from "./server-client.ts";

/** For every verb that calls a server. */
export const SERVER_OPTIONS = {
  server: {
    value: "<server>",
    summary: "address of the server, or its alias in a config file; the default is the berth of this machine",
    completes: "servers",
    group: "server",
  },
  "key-file": { value: "<file>", summary: "file with the developer key to sign in with", completes: "files", group: "server" },
  key: { value: "<key>", summary: "the key itself; others on this machine see it in `ps`, so prefer --key-file or BERTH_KEY", group: "server" },
} as const satisfies Options;

/** For verbs that print data. `main` sets `json` for `-o json` and `-o yaml`. */
export const JSON_OPTION = {
  output: { short: "o", value: "<format>", summary: "print json or yaml instead of text", completes: ["json", "yaml"] },
  json: { summary: "the same as -o json" },
} as const satisfies Options;

/** `registry` is the host from the server's config file. */
export type SelectedServer = ServerClient & { isLocal: boolean; registry: string | undefined };

/** The server that options, settings and config files select. Faults: SETTINGS_INVALID, CONTROL_AWAY if none runs here. */
export function selectServer(context: CommandContext, serverOptions: ServerOptions): SelectedServer {
  const { settings } = loadSettings(context);
  const { remote, key = "" } = chooseServer(serverOptions, settings.client, loadConfigFiles(context.env));
  if (remote === undefined)
    return { ...localServer(context, { key: key === "" ? undefined : key, bareKey: false }), isLocal: true, registry: undefined };
  const { name, url, registry } = remote;
  const hints = { away: "Check the address.", key: "Set another one with --key-file, BERTH_KEY or the config file." };
  return { ...createServerClient({ name, place: { url }, key, bareKey: false, hints, clock: context.clock }), isLocal: false, registry };
}

/** A verb that sends one request. With --json it prints the response, otherwise the text that `format` makes of it. */
export function requestVerb<const O extends Options, T>(of: {
  words: string;
  summary: string;
  aliases?: readonly string[];
  details?: string;
  options?: O;
  completes?: Completes;
  request(call: CallApi, words: string[], given: OptionValues<O>, screen: Screen): Promise<T>;
  format(response: T, words: string[], screen: Screen, now: number): string;
}): CommandVerb {
  const { words, summary, aliases = [], details, options, completes } = of;
  return defineVerb({
    words,
    summary,
    aliases,
    ...(details === undefined ? {} : { details }),
    options: { ...SERVER_OPTIONS, ...JSON_OPTION, ...options },
    ...(completes === undefined ? {} : { completes }),
    run: async ({ context, words, options: given, screen }) => {
      const serverOptions = given as { server?: string; key?: string; "key-file"?: string; json?: boolean };
      const response = await of.request(selectServer(context, serverOptions).call, words, given as unknown as OptionValues<O>, screen);
      if (serverOptions.json) screen.json(response);
      else screen.print(of.format(response, words, screen, context.clock.now()));
    },
  });
}

/** `remote` is undefined for the berth of this machine, and `key` then for its first user. */
type ServerChoice = { remote: { name: string; url: string; registry: string | undefined } | undefined; key: string | undefined };

/** The options of the command line. */
export type ServerOptions = { server?: string; key?: string; "key-file"?: string };

type ServerAddress = Omit<ConfiguredServer, "alias"> & { alias?: string };

/**
 * Selects the server: `--server`, else BERTH_SERVER, else the `default` of berth's own config file, else the berth of this machine. Its key is a given
 * one, else that of the alias, else BERTH_KEY. Faults: SETTINGS_INVALID.
 */
function chooseServer(options: ServerOptions, client: Settings["client"], files: readonly ConfigFile[]): ServerChoice {
  const givenKey = options["key-file"] === undefined ? options.key : loadKeyFile(options["key-file"]);
  if (options.key !== undefined && options["key-file"] !== undefined)
    throw new Fault("SETTINGS_INVALID", "--key and --key-file both set a key: leave one out.");
  const own = files.find((file) => file.own)?.default;
  const word = options.server ?? client.server ?? own;
  const fromSettings = () => client.key ?? (client.keyFile === undefined ? undefined : loadKeyFile(client.keyFile));
  if (word === undefined) return { remote: undefined, key: givenKey ?? fromSettings() };
  const { alias, url, key, registry } = addressOf(word, files);
  // The key of an alias comes before that of the settings.
  const selected = givenKey ?? (alias === undefined ? (fromSettings() ?? key) : (key ?? fromSettings()));
  if (selected !== undefined) return { remote: { name: url, url, registry }, key: selected };
  throw new Fault(
    "SETTINGS_INVALID",
    `There is no developer key for ${word}: set --key-file or BERTH_KEY, or add it to ${files[0]?.path ?? "~/.config/berth/config.yaml"}.`,
  );
}

/** An alias of a config file, or an address, whose key may be in a config file. */
function addressOf(word: string, files: readonly ConfigFile[]): ServerAddress {
  const configured = files.flatMap(({ servers }) => servers);
  if (/^https?:\/\//i.test(word)) {
    if (!URL.canParse(word)) throw new Fault("SETTINGS_INVALID", `${JSON.stringify(word)} is no address of a server.`);
    const url = apiOf(word);
    const same = configured.find((one) => apiOf(one.url) === url);
    return { url, key: same?.key, registry: same?.registry };
  }
  const selected = configured.find(({ alias }) => alias === word);
  if (selected) return { ...selected, url: apiOf(selected.url) };
  const names = configured.map(({ alias }) => alias);
  const there = names.length === 0 ? "no config file names any" : `there are: ${[...new Set(names)].join(", ")}`;
  throw new Fault(
    "SETTINGS_INVALID",
    `No server is called ${JSON.stringify(word)}${suggestion(word, names)}; ${there}. An address begins with http:// or https://.`,
  );
}

/** An address without a path gets `/api`. */
function apiOf(address: string): string {
  const { origin, pathname } = new URL(address);
  return `${origin}${pathname === "/" ? "/api" : trimTrailing(pathname, "/")}`;
}

/** Faults: SETTINGS_INVALID. */
export function loadKeyFile(file: string): string {
  const key = loadTextFile(file, `The key file ${file}`).trim();
  if (/^[\x21-\x7e]+$/.test(key)) return key;
  throw new Fault("SETTINGS_INVALID", `The key file ${file} contains no developer key.`);
}

/** A server of a config file, by its alias. */
type ConfiguredServer = { alias: string; url: string; key: string | undefined; registry: string | undefined };

/** `own` is berth's own file; only that one may set a default. */
type ConfigFile = { path: string; own: boolean; servers: ConfiguredServer[]; default: string | undefined };

/**
 * The files with servers and their keys: berth's own, then that of datagrok-tools. Both have `servers`, each with `url`, `key` and `registry`, and
 * `default`. Skips a missing file. Faults: SETTINGS_INVALID.
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

/** Faults do not quote the file: it contains keys. */
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
