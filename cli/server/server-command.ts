import type { Settings } from "../../conf/settings.ts";
import { suggestion } from "../../conf/suggestion.ts";
import { trimTrailing } from "../../lib/character-classes.ts";
import { Fault } from "../../lib/fault.ts";
import { type CommandContext, loadSettings, loadTextFile, localServer } from "../command-context.ts";
import { type CommandVerb, type Completes, defineVerb, type Options, type OptionValues, unexpectedAnswer } from "../command.ts";
import type { Screen } from "../terminal.ts";
import { type ConfigFile, type ConfiguredServer, loadConfigFiles } from "./config-files.ts";
import { createJobKey, findCiJob, missingIdentity } from "./ci-identity.ts";
import { type CallApi, createServerClient, type ServerClient } from "./server-client.ts";

/** For every verb that calls a server. */
export const SERVER_OPTIONS = {
  server: {
    value: "<server>",
    summary:
      "address of the server, or its alias in a config file; none: the berth of this machine, which is the default unless berth context names another",
    completes: "servers",
    group: "server",
  },
  "key-file": { value: "<file>", summary: "file with the developer key to sign in with", completes: "files", group: "server" },
  ca: {
    value: "<file>",
    summary: "PEM file with the certificate of an authority that the server's certificate may have",
    completes: "files",
    group: "server",
  },
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
  const job = findCiJob(context.env, settings.client, context.clock);
  const {
    remote,
    key = "",
    isToken,
  } = chooseServer(serverOptions, settings.client, loadConfigFiles(context.env), job === undefined ? context.env : undefined);
  if (remote === undefined)
    return { ...localServer(context, { key: key === "" ? undefined : key, bareKey: false }), isLocal: true, registry: undefined };
  const { name, url, registry, ca } = remote;
  const hints = { away: "Check the address.", key: `Sign in again with berth login ${name}, or name another one with --key-file or BERTH_KEY.` };
  const place = { url, ca: loadAuthority(serverOptions.ca ?? ca) };
  return {
    ...createServerClient({
      name,
      place,
      key: key === "" && job ? createJobKey(job, place, context.clock) : key,
      isToken,
      bareKey: false,
      hints,
      clock: context.clock,
    }),
    isLocal: false,
    registry,
  };
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
  /** Fields that the response has where it is berth's: what a command reports may not rest on that of a proxy in between. */
  expects?: readonly string[];
  /** The response says that what was requested did not succeed: the exit code is 1. */
  hasFailed?(response: T): boolean;
}): CommandVerb {
  const { words, summary, aliases = [], details, options, completes, expects, hasFailed = () => false } = of;
  return defineVerb({
    words,
    summary,
    aliases,
    ...(details === undefined ? {} : { details }),
    options: { ...SERVER_OPTIONS, ...JSON_OPTION, ...options },
    ...(completes === undefined ? {} : { completes }),
    run: async ({ context, words, options: given, screen }) => {
      const serverOptions = given as ServerOptions & { json?: boolean };
      const response = await of.request(selectServer(context, serverOptions).call, words, given as unknown as OptionValues<O>, screen);
      if (expects?.every((field) => Object.hasOwn(response ?? {}, field)) === false) throw unexpectedAnswer();
      if (serverOptions.json) screen.json(response);
      else screen.print(of.format(response, words, screen, context.clock.now()));
      return hasFailed(response) ? 1 : undefined;
    },
  });
}

/** `remote` is undefined for the berth of this machine, and `key` then for its first user. A server without a key is one for a CI job. */
type ServerChoice = {
  remote: { name: string; url: string; registry: string | undefined; ca: string | undefined } | undefined;
  key: string | undefined;
  /** `key` is the token of a session. */
  isToken?: boolean;
};

/** The options of the command line. */
export type ServerOptions = { server?: string; key?: string; "key-file"?: string; ca?: string };

/** The word for the berth of this machine, where a server is named. */
export const LOCAL_SERVER = "none";

type ServerAddress = Omit<ConfiguredServer, "alias"> & { alias?: string };

/**
 * Selects the server: `--server`, else BERTH_SERVER, else the `default` of berth's own config file, else the berth of this machine. Its key is a given
 * one, else that of the alias, else BERTH_KEY, else that of the CI job. `withoutJob`: the environment, if it has none. Faults: SETTINGS_INVALID.
 */
function chooseServer(
  options: ServerOptions,
  client: Settings["client"],
  files: readonly ConfigFile[],
  withoutJob: NodeJS.ProcessEnv | undefined,
): ServerChoice {
  const givenKey = options["key-file"] === undefined ? options.key : loadKeyFile(options["key-file"]);
  if (options.key !== undefined && options["key-file"] !== undefined)
    throw new Fault("SETTINGS_INVALID", "--key and --key-file both set a key: leave one out.");
  // Else the command would use another key, and on this machine that of the first user.
  if (options.key === "") throw new Fault("SETTINGS_INVALID", "--key is empty: set a developer key, or leave --key out.");
  const own = files.find((file) => file.own)?.default;
  const word = options.server ?? client.server ?? own;
  const fromSettings = () => client.key ?? (client.keyFile === undefined ? undefined : loadKeyFile(client.keyFile));
  if (word === undefined || word === LOCAL_SERVER) return { remote: undefined, key: givenKey ?? fromSettings() };
  const { alias, url, key: ownKey, token, registry, ca } = addressOf(word, files);
  const key = ownKey ?? token;
  // The key of an alias comes before that of the settings.
  const selected = givenKey ?? (alias === undefined ? (fromSettings() ?? key) : (key ?? fromSettings()));
  if (selected !== undefined || withoutJob === undefined)
    return { remote: { name: url, url, registry, ca }, key: selected, isToken: selected !== undefined && selected === token };
  const isCi = withoutJob["GITHUB_ACTIONS"] === "true" || withoutJob["GITLAB_CI"] === "true";
  const advice = isCi ? missingIdentity(withoutJob) : `Sign in with berth login ${word}, or set --key-file or BERTH_KEY.`;
  throw new Fault("SETTINGS_INVALID", `There is no developer key for ${word}. ${advice}`);
}

/** An alias of a config file, or an address, whose key may be in a config file. */
function addressOf(word: string, files: readonly ConfigFile[]): ServerAddress {
  const configured = files.flatMap(({ servers }) => servers);
  if (/^https?:\/\//i.test(word)) {
    if (!URL.canParse(word)) throw new Fault("SETTINGS_INVALID", `${JSON.stringify(word)} is no address of a server.`);
    const url = apiOf(word);
    const same = configured.find((one) => apiOf(one.url) === url);
    return { url, key: same?.key, token: same?.token, registry: same?.registry, ca: same?.ca };
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
export function apiOf(address: string): string {
  const { origin, pathname } = new URL(address);
  return `${origin}${pathname === "/" ? "/api" : trimTrailing(pathname, "/")}`;
}

/** The text of a PEM file. Faults: SETTINGS_INVALID. */
export function loadAuthority(file: string | undefined): string | undefined {
  if (file === undefined) return undefined;
  const text = loadTextFile(file, `The certificate file ${file}`);
  if (text.includes("-----BEGIN CERTIFICATE-----")) return text;
  throw new Fault("SETTINGS_INVALID", `${file} contains no certificate in PEM form.`);
}

/** Faults: SETTINGS_INVALID. */
export function loadKeyFile(file: string): string {
  const key = loadTextFile(file, `The key file ${file}`).trim();
  if (/^[\x21-\x7e]+$/.test(key)) return key;
  throw new Fault("SETTINGS_INVALID", `The key file ${file} contains no developer key.`);
}
