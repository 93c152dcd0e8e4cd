import { spawn } from "node:child_process";
import { on } from "node:events";
import { suggestion } from "../../conf/suggestion.ts";
import type { Clock } from "../../lib/clock.ts";
import { Fault, type FaultCode } from "../../lib/fault.ts";
import { defineVerb, requireHttpUrl, unexpectedAnswer, type Verbs } from "../command.ts";
import { type CommandContext, loadSettings } from "../command-context.ts";
import { formatDuration, formatTable, oneLine, type Screen } from "../terminal.ts";
import { type CiServer, exchangeIdentity, findCiJob, missingIdentity } from "./ci-identity.ts";
import { changeOwnConfig, loadConfigFiles } from "./config-files.ts";
import { createServerClient, type ServerClient } from "./server-client.ts";
import { apiOf, JSON_OPTION, loadAuthority, loadKeyFile, LOCAL_SERVER } from "./server-command.ts";

const MAX_KEY = 4_096;

/** `berth login` */
export const LOGIN: Verbs = {
  "": defineVerb({
    words: "<server>",
    summary: "sign in to a server, save the credential, and use this server from now on",
    details:
      "<server> is an address such as https://berth.example, or the name of a saved server.\nAt a terminal, if the server has a sign-in provider, you sign in there with a browser, on any device, and a session is saved. Else you need a developer key: from --key-file, else from the terminal, where it is not shown, else from standard input.\nWith --ci, a CI job exchanges its identity token (GitHub Actions, or BERTH_ID_TOKEN) for a token of at most an hour.\nAn administrator makes a key with berth users key add <login>.\nCredentials are saved in ~/.config/berth/config.yaml, which only you can read.",
    options: {
      name: { value: "<name>", summary: "the name to save it under; the default is the host of the address" },
      "key-file": { value: "<file>", summary: "file with the developer key", completes: "files" },
      "use-key": { summary: "enter a developer key, also where the server has a sign-in provider" },
      provider: { value: "<id>", summary: "the sign-in provider, if the server has several; the default is the first one" },
      "no-browser": { summary: "do not open a browser for the sign-in provider" },
      ca: { value: "<file>", summary: "PEM file with the certificate of an authority that the server's certificate may have", completes: "files" },
      ci: { summary: "sign in with the identity of this CI job, as berth publishers allows; berth publish does so by itself" },
      audience: { value: "<text>", summary: "with --ci: audience of the identity token; the default is the address of the server" },
      publisher: { value: "<name>", summary: "with --ci: the trusted publisher, if several match the job" },
      "print-token": { summary: "with --ci: print the token and save nothing, for docker login -u token --password-stdin" },
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
      const registry = options.registry ?? saved?.registry;
      const save = (credential: { key: string } | { token: string }): string =>
        changeOwnConfig(context.env, (document) => {
          document.setIn(
            ["servers", name],
            document.createNode({ url, ...credential, ...(ca === undefined ? {} : { ca }), ...(registry === undefined ? {} : { registry }) }),
          );
          document.set("default", name);
        });
      if (options.ci) return signInJob({ context, screen, place, options, save: (key) => save({ key }) });
      if (options["print-token"] || options.audience !== undefined || options.publisher !== undefined)
        throw new Fault("SETTINGS_INVALID", "--audience, --publisher and --print-token go with --ci.");
      const hints = { away: "Check the address.", key: "Nothing was saved." };
      const clientWith = (key: string, isToken: boolean) =>
        createServerClient({ name: url, place, key, isToken, bareKey: false, hints, clock: context.clock });
      if (options.provider !== undefined && (keyFile !== undefined || options["use-key"]))
        throw new Fault("SETTINGS_INVALID", "--provider is for a sign-in without a key: leave out --key-file and --use-key.");
      const mayAsk = keyFile === undefined && screen.input.isTTY && !options["use-key"];
      const session = mayAsk
        ? await signInAtProvider({
            server: clientWith("", false),
            word,
            env: context.env,
            opensBrowser: !options["no-browser"],
            chosen: options.provider,
            screen,
            clock: context.clock,
            signal,
          })
        : undefined;
      const key = session?.token ?? (keyFile === undefined ? await readKey(screen, url, signal) : loadKeyFile(keyFile));
      const { login } = (await clientWith(key, session !== undefined).call<{ login?: unknown } | null>("GET", "/users/current")) ?? {};
      if (typeof login !== "string") throw unexpectedAnswer();
      const path = save(session === undefined ? { key } : { token: key });
      const until = session === undefined ? "" : `, until ${new Date(session.expiresOn).toLocaleString("sv-SE").slice(0, 16)}`;
      screen.print(`Signed in to ${url} as ${login}${until}.\nIt is the current server now, saved as ${name} in ${path}.`);
      screen.note(`To return to the berth of this machine: berth context use ${LOCAL_SERVER}`);
    },
  }),
};

type DeviceOnWire = {
  handle: string;
  userCode: string;
  url: string;
  completeUrl?: string;
  expiresSeconds: number;
  intervalSeconds: number;
};
/** Before there were several, servers sent the name alone. */
type ProvidersOnWire = { name?: unknown; providers?: { id: string; name: string }[] };
type DeviceResultOnWire = { isPending: boolean; token?: string; expiresOn?: string };

/** The server, or the provider behind it, may answer again before the code expires. */
const PASSING: readonly FaultCode[] = [
  "CONTROL_AWAY",
  "CONTROL_BUSY",
  "CONTROL_STANDBY",
  "CONTROL_NO_LEADER",
  "SIGN_IN_PROVIDER_AWAY",
  "TOO_MANY_ATTEMPTS",
];

/** A session that began at the server's sign-in provider; undefined: the server has none, or it does not work. Faults: SIGN_IN_FAILED, SIGN_IN_REFUSED. */
async function signInAtProvider(of: {
  server: Pick<ServerClient, "callAnonymously">;
  /** The server's address, as it was entered. */
  word: string;
  env: NodeJS.ProcessEnv;
  opensBrowser: boolean;
  /** The id of the provider; undefined: the first one. */
  chosen: string | undefined;
  screen: Screen;
  clock: Clock;
  signal: AbortSignal;
}): Promise<{ token: string; expiresOn: string } | undefined> {
  const { server, word, env, opensBrowser, chosen, screen, clock, signal } = of;
  // A server of another kind answers an unknown route in its own way.
  const answer = await ifNoFault(server.callAnonymously<ProvidersOnWire | null>("GET", "/users/login/oidc"));
  if (typeof answer?.name !== "string") {
    if (chosen === undefined) return undefined;
    throw new Fault("SETTINGS_INVALID", `${word} has no sign-in provider: leave out --provider, and enter a developer key.`);
  }
  const all = answer.providers ?? [{ id: "", name: answer.name }];
  const provider = chosen === undefined ? all[0] : all.find(({ id }) => id === chosen);
  if (provider === undefined)
    throw new Fault("SETTINGS_INVALID", `${word} has no sign-in provider ${JSON.stringify(chosen)}. Its providers are: ${listed(all)}.`);
  const others = all.filter((one) => one !== provider);
  if (chosen === undefined && others.length > 0) screen.note(`To sign in elsewhere, use --provider: ${listed(others)}.`);
  const query = chosen === undefined ? "" : `?provider=${encodeURIComponent(chosen)}`;
  const begun = await ifNoFault(server.callAnonymously<DeviceOnWire>("POST", `/users/login/device${query}`), (fault) =>
    screen.note(oneLine(fault.message)),
  );
  if (begun === undefined) return undefined;
  const address = webAddress(begun.completeUrl ?? begun.url);
  const code = screen.paint("bold", oneLine(begun.userCode));
  const expiresMs = begun.expiresSeconds * 1_000;
  // A line of its own, so that a terminal makes all of it a link, and a double click selects it.
  screen.note(`To sign in with ${oneLine(provider.name)}, open this address in a browser on any device:\n\n  ${address}\n`);
  screen.note(begun.completeUrl === undefined ? `Enter the code ${code} there.` : `Check that the page shows the code ${code}.`);
  if (opensBrowser && openBrowser(address, env)) screen.note("Opening it in your browser.");
  screen.note(
    `Waiting for ${formatDuration(expiresMs)} at most. To use a developer key instead, press Ctrl-C and run:\n\n  berth login ${word} --use-key\n`,
  );
  const until = clock.monotonic() + expiresMs;
  while (clock.monotonic() < until) {
    await clock.sleep(Math.max(begun.intervalSeconds, 1) * 1_000, signal);
    const result = await ifNoFault(
      server.callAnonymously<DeviceResultOnWire>("POST", "/users/login/device/token", { handle: begun.handle }),
      (fault) => {
        if (!PASSING.includes(fault.code)) throw fault;
      },
    );
    if (result?.token !== undefined) return { token: result.token, expiresOn: result.expiresOn ?? "" };
  }
  throw new Fault("SIGN_IN_FAILED", "The code has expired. Nothing was saved. Run berth login again.");
}

function listed(providers: readonly { id: string; name: string }[]): string {
  return providers.map(({ id, name }) => oneLine(`${id} (${name})`)).join(", ");
}

async function ifNoFault<T>(work: Promise<T>, onFault: (fault: Fault) => void = () => {}): Promise<T | undefined> {
  try {
    return await work;
  } catch (error) {
    if (!(error instanceof Fault)) throw error;
    onFault(error);
    return undefined;
  }
}

/** The server names it, and a program is started with it. Faults: SIGN_IN_FAILED. */
function webAddress(address: string): string {
  const url = URL.parse(address);
  if (url === null || !/^https?:$/.test(url.protocol))
    throw new Fault("SIGN_IN_FAILED", "The server names no web address to sign in at. Nothing was saved.");
  return url.href;
}

/** In the browser of this desktop; false if there is none. In a session over SSH it would be another person's. */
function openBrowser(address: string, env: NodeJS.ProcessEnv): boolean {
  const hasDesktop = process.platform !== "linux" || (env["SSH_CONNECTION"] === undefined && Boolean(env["DISPLAY"] ?? env["WAYLAND_DISPLAY"]));
  const [program, ...args] = env["BROWSER"] ? [env["BROWSER"]] : hasDesktop ? (OPENERS[process.platform] ?? []) : [];
  if (program === undefined) return false;
  const child = spawn(program, [...args, address], { detached: true, stdio: "ignore", env });
  // The address is on the terminal too.
  child.once("error", () => {});
  child.unref();
  return true;
}

const OPENERS: Partial<Record<NodeJS.Platform, readonly string[]>> = {
  linux: ["xdg-open"],
  darwin: ["open"],
  win32: ["rundll32", "url.dll,FileProtocolHandler"],
};

async function signInJob(deps: {
  context: CommandContext;
  screen: Screen;
  place: CiServer;
  options: { audience?: string; publisher?: string; "print-token"?: boolean; "key-file"?: string };
  save(key: string): string;
}): Promise<void> {
  const { context, screen, place, options, save } = deps;
  if (options["key-file"] !== undefined) throw new Fault("SETTINGS_INVALID", "--ci and --key-file exclude each other.");
  const job = findCiJob(context.env, loadSettings(context).settings.client, context.clock);
  if (!job) throw new Fault("SETTINGS_INVALID", missingIdentity(context.env));
  const { token, expiresAt, publisher, login, packages } = await exchangeIdentity(job, place, context.clock, options);
  if (options["print-token"]) return screen.print(token);
  const path = save(token);
  const until = new Date(expiresAt).toISOString().slice(0, 16).replace("T", " ");
  screen.print(`Signed in to ${place.url} as ${login}, for ${publisher}, until ${until} UTC. Saved in ${path}.`);
  screen.note(`The token publishes ${packages.join(", ")}, and nothing else.`);
}

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
      const isSession = own?.servers.find(({ alias }) => alias === name)?.token !== undefined;
      screen.print(
        isSession
          ? `Forgot ${name}. Its session stays valid until it expires, or you end it on the console's page Profile.`
          : `Forgot ${name}. Its key stays valid: berth users key rm revokes it.`,
      );
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
