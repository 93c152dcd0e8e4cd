import { localServer, type CommandContext, loadSettings } from "../command-context.ts";
import { type Options, type Completes, type OptionValues, defineVerb, type CommandVerb } from "../command.ts";
import { loadConfigFiles, type ServerOptions, chooseServer } from "./choose-server.ts";
import { createServerClient, type ServerClient, type CallApi } from "./server-client.ts";
import type { Screen } from "../terminal/screen.ts";

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

/** For verbs that print data. */
export const JSON_OPTION = { json: { summary: "print one JSON document" } } as const satisfies Options;

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
  options: O;
  completes?: Completes;
  request(call: CallApi, words: string[], given: OptionValues<O>, screen: Screen): Promise<T>;
  format(response: T, words: string[], screen: Screen): string;
}): CommandVerb {
  const { words, summary, options, completes } = of;
  return defineVerb({
    words,
    summary,
    options: { ...SERVER_OPTIONS, ...JSON_OPTION, ...options },
    ...(completes === undefined ? {} : { completes }),
    run: async ({ context, words, options: given, screen }) => {
      const serverOptions = given as { server?: string; key?: string; "key-file"?: string; json?: boolean };
      const response = await of.request(selectServer(context, serverOptions).call, words, given, screen);
      if (serverOptions.json) screen.json(response);
      else screen.print(of.format(response, words, screen));
    },
  });
}
