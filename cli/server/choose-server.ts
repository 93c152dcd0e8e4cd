import { suggestion } from "../../conf/suggestion.ts";
import type { Settings } from "../../conf/settings.ts";
import { Fault } from "../../lib/fault.ts";
import type { ConfigFile, ConfiguredServer } from "./config-files.ts";
import { trimTrailing } from "../../lib/trim-trailing.ts";
import { readFileSync } from "node:fs";

/** A server elsewhere; undefined where the berth of this machine is meant. `key` is that of this machine's berth where it is undefined. */
type ServerChoice = { remote: { name: string; url: string; registry: string | undefined } | undefined; key: string | undefined };

/** The options of the command line. */
export type ServerOptions = { server?: string; key?: string; "key-file"?: string };

type ServerAddress = Omit<ConfiguredServer, "alias"> & { alias?: string };

/**
 * Which server is meant and with whose key: `--server`, else BERTH_SERVER, else the `default` of berth's own file, else the berth of this machine. A key
 * that is given beats that of an alias, which beats BERTH_KEY. Faults: SETTINGS_INVALID.
 */
export function chooseServer(options: ServerOptions, client: Settings["client"], files: readonly ConfigFile[]): ServerChoice {
  const givenKey = options["key-file"] === undefined ? options.key : loadKeyFile(options["key-file"]);
  if (options.key !== undefined && options["key-file"] !== undefined)
    throw new Fault("SETTINGS_INVALID", "--key and --key-file both give a key: leave one out.");
  const own = files.find((file) => file.own)?.default;
  const word = options.server ?? client.server ?? own;
  const fromSettings = () => client.key ?? (client.keyFile === undefined ? undefined : loadKeyFile(client.keyFile));
  if (word === undefined) return { remote: undefined, key: givenKey ?? fromSettings() };
  const { alias, url, key, registry } = addressOf(word, files);
  // What goes with BERTH_SERVER does not go with another that has a key of its own.
  const selected = givenKey ?? (alias === undefined ? (fromSettings() ?? key) : (key ?? fromSettings()));
  if (selected !== undefined) return { remote: { name: url, url, registry }, key: selected };
  throw new Fault(
    "SETTINGS_INVALID",
    `There is no developer key for ${word}: give it by --key-file or BERTH_KEY, or write it down in ${files[0]?.path ?? "~/.config/berth/config.yaml"}.`,
  );
}

/** An address, whose key may be written down beside the same address, or an alias. */
function addressOf(word: string, files: readonly ConfigFile[]): ServerAddress {
  const known = files.flatMap(({ servers }) => servers);
  if (/^https?:\/\//i.test(word)) {
    if (!URL.canParse(word)) throw new Fault("SETTINGS_INVALID", `${JSON.stringify(word)} is no address of a server.`);
    const url = apiOf(word);
    const same = known.find((one) => apiOf(one.url) === url);
    return { url, key: same?.key, registry: same?.registry };
  }
  const selected = known.find(({ alias }) => alias === word);
  if (selected) return { ...selected, url: apiOf(selected.url) };
  const names = known.map(({ alias }) => alias);
  const there = names.length === 0 ? "no config file names any" : `there are: ${[...new Set(names)].join(", ")}`;
  throw new Fault(
    "SETTINGS_INVALID",
    `No server is called ${JSON.stringify(word)}${suggestion(word, names)}; ${there}. An address begins with http:// or https://.`,
  );
}

/** An address without a path is that of the whole server. */
function apiOf(address: string): string {
  const { origin, pathname } = new URL(address);
  return `${origin}${pathname === "/" ? "/api" : trimTrailing(pathname, "/")}`;
}

/** The developer key that a file holds. Faults: SETTINGS_INVALID. */
export function loadKeyFile(file: string): string {
  try {
    const key = readFileSync(file, "utf8").trim();
    if (/^[\x21-\x7e]+$/.test(key)) return key;
  } catch (cause) {
    throw new Fault("SETTINGS_INVALID", `The key file ${file} cannot be read: ${(cause as Error).message}.`, { cause });
  }
  throw new Fault("SETTINGS_INVALID", `The key file ${file} holds no developer key.`);
}
