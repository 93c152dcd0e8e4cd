import { on } from "node:events";
import { suggestion } from "../../conf/suggestion.ts";
import { Fault } from "../../lib/fault.ts";
import { defineVerb, requireHttpUrl, type Verbs } from "../command.ts";
import { formatTable, type Screen } from "../terminal.ts";
import { changeOwnConfig, loadConfigFiles } from "./config-files.ts";
import { createServerClient } from "./server-client.ts";
import { apiOf, JSON_OPTION, loadAuthority, loadKeyFile, LOCAL_SERVER } from "./server-command.ts";

const MAX_KEY = 4_096;

/** `berth login` */
export const LOGIN: Verbs = {
  "": defineVerb({
    words: "<server>",
    summary: "sign in to a server with a developer key, save both, and use this server from now on",
    details:
      "<server> is an address such as https://berth.example, or the name of a saved server.\nThe key comes from --key-file, else from the terminal, where it is not shown, else from standard input.\nAn administrator makes a key with berth users key add <login>.\nKeys are saved in ~/.config/berth/config.yaml, which only you can read.",
    options: {
      name: { value: "<name>", summary: "the name to save it under; the default is the host of the address" },
      "key-file": { value: "<file>", summary: "file with the developer key", completes: "files" },
      ca: { value: "<file>", summary: "PEM file with the certificate of an authority that the server's certificate may have", completes: "files" },
      registry: { value: "<host>", summary: "its registry's host and port, for berth publish" },
    },
    completes: "servers",
    run: async ({ context, words: [word = ""], options, screen, signal }) => {
      const saved = loadConfigFiles(context.env)
        .flatMap(({ servers }) => servers)
        .find(({ alias }) => alias === word);
      const url = apiOf(saved?.url ?? requireHttpUrl(word.includes("://") ? word : `https://${word}`));
      const name = options.name ?? saved?.alias ?? new URL(url).host;
      if (name === LOCAL_SERVER || name === "")
        throw new Fault("SETTINGS_INVALID", `${JSON.stringify(name)} cannot be the name of a server: choose another --name.`);
      const ca = options.ca ?? saved?.ca;
      const place = { url, ca: loadAuthority(ca) };
      const keyFile = options["key-file"];
      const key = keyFile === undefined ? await readKey(screen, url, signal) : loadKeyFile(keyFile);
      const hints = { away: "Check the address.", key: "Nothing was saved." };
      const server = createServerClient({ name: url, place, key, bareKey: false, hints, clock: context.clock });
      const { login } = await server.call<{ login: string }>("GET", "/users/current");
      const registry = options.registry ?? saved?.registry;
      const path = changeOwnConfig(context.env, (document) => {
        document.setIn(
          ["servers", name],
          document.createNode({ url, key, ...(ca === undefined ? {} : { ca }), ...(registry === undefined ? {} : { registry }) }),
        );
        document.set("default", name);
      });
      screen.print(`Signed in to ${url} as ${login}. It is the current server now, saved as ${name} in ${path}.`);
      screen.note(`To return to the berth of this machine: berth context use ${LOCAL_SERVER}`);
    },
  }),
};

/** A line from the terminal, which shows nothing of it, or all of standard input. Faults: SETTINGS_INVALID. */
async function readKey({ input, redraw, note }: Screen, url: string, signal: AbortSignal): Promise<string> {
  const isTerminal = input.isTTY;
  if (isTerminal) {
    // Before the prompt, after which a person types.
    input.setRawMode(true);
    redraw(`Developer key for ${url}: `);
  }
  let key = "";
  try {
    input.setEncoding("utf8");
    for await (const [piece] of on(input, "data", { signal, close: ["end"] }) as AsyncIterable<[string]>) {
      for (const letter of piece) {
        if (isTerminal && (letter === "\u0003" || letter === "\u0004")) throw new Fault("SETTINGS_INVALID", "No key was entered. Nothing was saved.");
        key = isTerminal && (letter === "\u007f" || letter === "\b") ? key.slice(0, -1) : key + letter;
      }
      if (key.length > MAX_KEY || (isTerminal && /[\r\n]/.test(key))) break;
    }
  } finally {
    if (isTerminal) {
      input.setRawMode(false);
      note("");
    }
    input.pause();
  }
  const trimmed = key.trim();
  if (/^[\x21-\x7e]+$/.test(trimmed) && trimmed.length <= MAX_KEY) return trimmed;
  throw new Fault("SETTINGS_INVALID", "That is no developer key. Nothing was saved.");
}

/** `berth context <verb>` */
export const CONTEXT: Verbs = {
  ls: defineVerb({
    words: "",
    aliases: ["list"],
    summary: `list the saved servers; * is the current one, and ${LOCAL_SERVER} the berth of this machine`,
    options: JSON_OPTION,
    run: async ({ context, options, screen }) => {
      const files = loadConfigFiles(context.env);
      const current = files.find(({ own }) => own)?.default ?? LOCAL_SERVER;
      const saved = files.flatMap(({ servers }) =>
        servers.map(({ alias, url }) => ({ name: alias, url: url as string | null, current: alias === current })),
      );
      const rows = [{ name: LOCAL_SERVER, url: null, current: current === LOCAL_SERVER }, ...saved];
      if (options.json) return screen.json(rows);
      screen.print(
        formatTable(
          ["CURRENT", "NAME", "URL"],
          rows.map((row) => [row.current ? "*" : "", row.name, row.url ?? "(the berth of this machine)"]),
          screen,
        ),
      );
    },
  }),
  use: defineVerb({
    words: "<name>",
    summary: `make a saved server the current one; ${LOCAL_SERVER} is the berth of this machine`,
    options: {},
    completes: "servers",
    run: async ({ context, words: [name = ""], screen }) => {
      const names = [LOCAL_SERVER, ...loadConfigFiles(context.env).flatMap(({ servers }) => servers.map(({ alias }) => alias))];
      requireSaved(name, names);
      changeOwnConfig(context.env, (document) => document.set("default", name));
      screen.print(`${name === LOCAL_SERVER ? "The berth of this machine" : name} is the current server now.`);
    },
  }),
  rm: defineVerb({
    words: "<name>",
    aliases: ["remove"],
    summary: "forget a saved server and its key",
    options: {},
    completes: "servers",
    run: async ({ context, words: [name = ""], screen }) => {
      const own = loadConfigFiles(context.env).find((file) => file.own);
      requireSaved(name, own?.servers.map(({ alias }) => alias) ?? []);
      changeOwnConfig(context.env, (document) => {
        document.deleteIn(["servers", name]);
        if (own?.default === name) document.delete("default");
      });
      screen.print(`Forgot ${name}. Its key stays valid: berth users key rm revokes it.`);
    },
  }),
};

/** Faults: SETTINGS_INVALID. */
function requireSaved(name: string, names: readonly string[]): void {
  if (names.includes(name)) return;
  const saved = names.length === 0 ? "No server is saved" : `Saved: ${names.join(", ")}`;
  throw new Fault(
    "SETTINGS_INVALID",
    `No server is saved as ${JSON.stringify(name)}${suggestion(name, names)}. ${saved}. berth login <server> saves one.`,
  );
}
