import { callableHere, type Here, settingsHere } from "../command-context.ts";
import type { Options } from "../verb.ts";
import { readConfigFiles } from "./config-files.ts";
import { openServer, type Server } from "./server-client.ts";
import { type Said, whichServer } from "./choose-server.ts";

/** Of every verb that talks to a server. */
export const SERVER_OPTIONS = {
  server: {
    takes: "<server>",
    says: "its address, or its alias in a config file, where it is not the berth of this machine",
    completes: "servers",
    about: "server",
  },
  "key-file": { takes: "<file>", says: "file with the developer key to sign in with", completes: "files", about: "server" },
  key: { takes: "<key>", says: "the key itself; others on this machine see it in `ps`, so prefer --key-file or BERTH_KEY", about: "server" },
} as const satisfies Options;

/** Of those which answer with data. */
export const JSON_OPTION = { json: { says: "one JSON document in place of a table" } } as const satisfies Options;

/** `registry` is the host that is written down beside the server. */
export type Chosen = Server & { isHere: boolean; registry: string | undefined };

/** The server that is meant. Faults: SETTINGS_INVALID, CONTROL_AWAY where none runs here. */
export function serverOf(here: Here, said: Said): Chosen {
  const { settings } = settingsHere(here);
  const { elsewhere, key = "" } = whichServer(said, settings.client, readConfigFiles(here.env));
  if (elsewhere === undefined)
    return { ...callableHere(here, { key: key === "" ? undefined : key, bareKey: false }), isHere: true, registry: undefined };
  const { name, url, registry } = elsewhere;
  const hints = { away: "Is the address right?", key: "Give another one by --key-file, BERTH_KEY or in the config file." };
  return { ...openServer({ name, place: { url }, key, bareKey: false, hints, clock: here.clock }), isHere: false, registry };
}
