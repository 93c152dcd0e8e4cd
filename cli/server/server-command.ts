import { localServer, type CommandContext, loadSettings } from "../command-context.ts";
import { type Options, type Completes, type OptionValues, defineVerb, type CommandVerb } from "../command.ts";
import { loadConfigFiles, type ServerOptions, chooseServer } from "./choose-server.ts";
import { createServerClient, type ServerClient, type CallApi } from "./server-client.ts";
import type { Screen } from "../terminal/screen.ts";

/** Of every verb that talks to a server. */
export const SERVER_OPTIONS = {
  server: {
    value: "<server>",
    summary: "its address, or its alias in a config file, where it is not the berth of this machine",
    completes: "servers",
    group: "server",
  },
  "key-file": { value: "<file>", summary: "file with the developer key to sign in with", completes: "files", group: "server" },
  key: { value: "<key>", summary: "the key itself; others on this machine see it in `ps`, so prefer --key-file or BERTH_KEY", group: "server" },
} as const satisfies Options;

/** Of those which answer with data. */
export const JSON_OPTION = { json: { summary: "print one JSON document" } } as const satisfies Options;

/** `registry` is the host that is written down beside the server. */
export type SelectedServer = ServerClient & { isLocal: boolean; registry: string | undefined };

/** The server that is meant. Faults: SETTINGS_INVALID, CONTROL_AWAY where none runs here. */
export function selectServer(context: CommandContext, serverOptions: ServerOptions): SelectedServer {
  const { settings } = loadSettings(context);
  const { remote: elsewhere, key = "" } = chooseServer(serverOptions, settings.client, loadConfigFiles(context.env));
  if (elsewhere === undefined)
    return { ...localServer(context, { key: key === "" ? undefined : key, bareKey: false }), isLocal: true, registry: undefined };
  const { name, url, registry } = elsewhere;
  const hints = { away: "Is the address right?", key: "Give another one by --key-file, BERTH_KEY or in the config file." };
  return { ...createServerClient({ name, place: { url }, key, bareKey: false, hints, clock: context.clock }), isLocal: false, registry };
}

/** A verb that is one question to the server: with --json its answer is printed as it is, else as `shows` words it. */
export function requestVerb<const O extends Options, T>(of: {
  words: string;
  says: string;
  options: O;
  completes?: Completes;
  ask(call: CallApi, words: string[], given: OptionValues<O>, screen: Screen): Promise<T>;
  shows(answer: T, words: string[], screen: Screen): string;
}): CommandVerb {
  const { words, says: summary, options, completes } = of;
  return defineVerb({
    words,
    summary,
    options: { ...SERVER_OPTIONS, ...JSON_OPTION, ...options },
    ...(completes === undefined ? {} : { completes }),
    run: async ({ context, words, options: given, screen }) => {
      const serverOptions = given as { server?: string; key?: string; "key-file"?: string; json?: boolean };
      const answer = await of.ask(selectServer(context, serverOptions).call, words, given, screen);
      if (serverOptions.json) screen.json(answer);
      else screen.print(of.shows(answer, words, screen));
    },
  });
}
