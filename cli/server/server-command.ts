import { callableHere, type Here, settingsHere } from "../command-context.ts";
import { type Options, type Completes, type Given, verb, type Verb } from "../command.ts";
import { readConfigFiles } from "./config-files.ts";
import { openServer, type Server, type CallControl } from "./server-client.ts";
import { type Said, whichServer } from "./choose-server.ts";
import type { Screen } from "../terminal/screen.ts";

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

/** A verb that is one question to the server: with --json its answer is printed as it is, else as `shows` words it. */
export function question<const O extends Options, T>(of: {
  words: string;
  says: string;
  options: O;
  completes?: Completes;
  ask(call: CallControl, words: string[], given: Given<O>, screen: Screen): Promise<T>;
  shows(answer: T, words: string[], screen: Screen): string;
}): Verb {
  const { words, says, options, completes } = of;
  return verb({
    words,
    says,
    options: { ...SERVER_OPTIONS, ...JSON_OPTION, ...options },
    ...(completes === undefined ? {} : { completes }),
    run: async ({ here, words, given, screen }) => {
      const said = given as { server?: string; key?: string; "key-file"?: string; json?: boolean };
      const answer = await of.ask(serverOf(here, said).call, words, given, screen);
      if (said.json) screen.json(answer);
      else screen.print(of.shows(answer, words, screen));
    },
  });
}
