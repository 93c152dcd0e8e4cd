import type { Clock } from "../../lib/clock.ts";
import type { ReadSettings } from "../../conf/read-settings.ts";
import type { Settings } from "../../conf/settings.ts";
import { readAdminKey } from "../../control/identity/admin-key.ts";
import type { DriverName } from "../../drivers/driver.ts";
import { withTimeout } from "../../lib/deadline.ts";
import { Fault } from "../../lib/fault.ts";
import { type CommandContext, loadSettings } from "../command-context.ts";
import { listenerUrl } from "../serve.ts";
import { sendRequest, withoutSecrets } from "./send-request.ts";
import { parseJson } from "../server/server-client.ts";
import { trimTrailing } from "../../lib/trim-trailing.ts";
import { ADVICE } from "../../drivers/faults.ts";

/** What the command line asks for. */
export type DoctorOptions = {
  /** The public address; where undefined, the settings say. */
  server: string | undefined;
  /** The registry proxy as its clients reach it; where undefined, its own listener. */
  registry: string | undefined;
  /** A developer key; where undefined, the first user's. */
  key: string | undefined;
  /** An image of berth that the orchestrator can have. */
  image: string | undefined;
  /** Have SQLite check the whole store. */
  store: boolean;
  /** How long to hold silent connections, to find what closes them; 0: not checked. */
  idleSeconds: number;
};

/** The container that answers while the chain is looked at. */
export type EchoContainer = { id: string; token: string };

/** What all checks share: settings, options, and the results of earlier checks. */
export type CheckContext = {
  context: CommandContext;
  clock: Clock;
  options: DoctorOptions;
  /** Faults: SETTINGS_INVALID. */
  loadSettings(): ReadSettings;
  readonly settings: Settings;
  /** The public address without `/api`, and whether an option or a setting named it. Faults: CHAIN_BROKEN where it cannot be known. */
  readonly server: { url: URL; named: boolean };
  /** The developer key that is shown; undefined where there is none for the server that knows the users. */
  readonly key: string | undefined;
  /** A session's token, for the developer key; of the API at `base`. Faults: CHAIN_BROKEN. */
  signIn(base: string, key: string, signal: AbortSignal): Promise<string>;
  /** `nodes` are those of a swarm. */
  shared: { driver?: DriverName; nodes?: number; echo?: EchoContainer };
  /** Removes something that is about to be made, in whatever state it is by then. */
  addCleanup(what: string, undo: (signal: AbortSignal) => Promise<void>): void;
  /** Removes all of it, the newest first; answers with what could not be. */
  close(): Promise<CheckProblem[]>;
};

const CLEANUP_MS = 45_000;

export function openCheckContext(context: CommandContext, options: DoctorOptions): CheckContext {
  const { clock } = context;
  const undoings: { what: string; undo(signal: AbortSignal): Promise<void> }[] = [];
  let read: ReadSettings | undefined;
  const settings = () => (read ??= loadSettings(context)).settings;
  return {
    context,
    clock,
    options,
    loadSettings: () => (read ??= loadSettings(context)),
    get settings() {
      return settings();
    },
    get server() {
      return publicAddress(settings(), options.server);
    },
    get key() {
      // Another server's business is not tried with a key of berth's own.
      if (options.key !== undefined || settings().datagrok.url !== undefined) return options.key ?? settings().datagrok.key;
      return readAdminKey({ dataFolder: settings().data, given: settings().adminKey });
    },
    signIn: async (base, key, signal) => {
      const { status, text } = await sendRequest(`${base}/users/login/dev`, { method: "POST", headers: { authorization: `Dev ${key}` }, signal });
      const { token } = (parseJson(text) ?? {}) as { token?: unknown };
      if (status < 300 && typeof token === "string") return token;
      throw new Fault("CHAIN_BROKEN", `${withoutSecrets(base)} does not take the developer key: it answers ${status}.`);
    },
    shared: {},
    addCleanup: (what, undo) => void undoings.unshift({ what, undo }),
    close: async () => {
      const left: CheckProblem[] = [];
      for (const { what, undo } of undoings.splice(0)) {
        const overdue = () => new Fault("CHAIN_BROKEN", `it took longer than ${CLEANUP_MS / 1_000} s`);
        await withTimeout({ clock, ms: CLEANUP_MS, overdue }, undo).catch((error: unknown) => {
          left.push(warning(`${what} could not be removed: ${(error as Error).message}`, "Remove it by hand, or run berth doctor again."));
        });
      }
      return left;
    },
  };
}

/** A listener on all interfaces is reached on this machine's own. */
function publicAddress(settings: Settings, given: string | undefined): CheckContext["server"] {
  const named = given ?? settings.webRoot;
  if (named !== undefined) return { url: new URL(trimTrailing(named, "/").replace(/\/api$/, "")), named: true };
  if (settings.edgePort === 0)
    throw new Fault("CHAIN_BROKEN", "BERTH_EDGE_PORT is 0, so the edge's port is unknown. Name the public address with --server.");
  if (settings.tlsCert !== undefined) throw new Fault("CHAIN_BROKEN", "The edge speaks TLS, and the name that its clients use is not known.");
  return { url: new URL(listenerUrl({ ...settings, edgeHost: localHost(settings.edgeHost) }, settings.edgePort)), named: false };
}

/** Where this machine itself reaches a listener. */
export function localHost(host: string): string {
  return host === "0.0.0.0" ? "127.0.0.1" : host === "::" ? "::1" : host;
}

/** Below the public address; `path` begins with `/`. */
export function urlAt({ url }: CheckContext["server"], path: string): string {
  return `${url.origin}${trimTrailing(url.pathname, "/")}${path}`;
}

/** What is wrong, and what to do. With only warnings the check is ok. */
export type CheckProblem = { what: string; todo: string; kind: "wrong" | "warning" };

/** What a look at a link found; `unlooked` says why there was none. */
export type CheckResult = { says: string; problems?: readonly CheckProblem[] } | { unlooked: string };

export function failure(what: string, todo: string): CheckProblem {
  return { what, todo, kind: "wrong" };
}

export function warning(what: string, todo: string): CheckProblem {
  return { what, todo, kind: "warning" };
}

const DRIVER_ADVICE = new Map<string, { todo: string }>(Object.entries(ADVICE));

/** What a failed look means. A driver's fault says itself what to do; for others it is the link's `advice`. */
export function problemOf(error: unknown, advice: string): CheckProblem {
  if (!(error instanceof Fault)) return failure(`This look itself failed: ${error instanceof Error ? error.message : String(error)}.`, advice);
  const todo = DRIVER_ADVICE.get(error.code)?.todo;
  const bare = todo !== undefined && error.message.endsWith(todo) ? error.message.slice(0, -todo.length).trimEnd() : error.message;
  return failure(bare, bare === error.message || todo === undefined ? advice : todo);
}

/** A part of the way between a browser and a container that can break by itself. */
export type Check = {
  name: string;
  /** Links before it without which there is nothing to be seen here. */
  needs: readonly string[];
  /** The time limit of the check. */
  ms: number | ((chain: CheckContext) => number);
  /** Whatever it makes, it says to the chain how that is removed before it makes it. Faults are what is wrong. */
  check(chain: CheckContext, signal: AbortSignal): Promise<CheckResult>;
  /** What to do where the look itself says no better. */
  advice: string;
};
