import type { ReadSettings } from "../../conf/read-settings.ts";
import type { Settings } from "../../conf/settings.ts";
import { readAdminKey } from "../../control/identity/admin-key.ts";
import type { DriverName } from "../../drivers/driver.ts";
import { ADVICE } from "../../drivers/faults.ts";
import { trimTrailing } from "../../lib/character-classes.ts";
import type { Clock } from "../../lib/clock.ts";
import { withTimeout } from "../../lib/deadline.ts";
import { Fault } from "../../lib/fault.ts";
import { type CommandContext, loadSettings } from "../command-context.ts";
import { listenerUrl, localHost } from "../serve.ts";
import { parseJson } from "../../lib/parse-json.ts";
import { sendRequest, withoutSecrets } from "./send-request.ts";

/** The options of the command line. */
export type DoctorOptions = {
  /** The public address; undefined: that of the settings. */
  server: string | undefined;
  /** The registry proxy as its clients reach it; undefined: its own listener. */
  registry: string | undefined;
  /** A developer key; undefined: the first user's. */
  key: string | undefined;
  /** An image of berth that the orchestrator can pull. */
  image: string | undefined;
  /** SQLite checks the whole store. */
  store: boolean;
  /** How long to hold silent connections; 0: not checked. */
  idleSeconds: number;
};

/** The test container. */
export type EchoContainer = { id: string; token: string };

/** What all checks share: settings, options, and the results of earlier checks. */
export type CheckContext = {
  context: CommandContext;
  clock: Clock;
  options: DoctorOptions;
  /** Faults: SETTINGS_INVALID. */
  loadSettings(): ReadSettings;
  readonly settings: Settings;
  /** The public address without `/api`, and whether an option or a setting names it. Faults: CHAIN_BROKEN if it is unknown. */
  readonly server: { url: URL; named: boolean };
  /** The developer key for the server that has the users; undefined if there is none. */
  readonly key: string | undefined;
  /** A session token for the developer key, from the API at `base`. Faults: CHAIN_BROKEN. */
  signIn(base: string, key: string, signal: AbortSignal): Promise<string>;
  /** Results of earlier checks; `nodes` is the size of a Swarm. */
  shared: { driver?: DriverName; nodes?: number; echo?: EchoContainer };
  /** Registers a removal. Call it before the creation; `undo` must handle any state. */
  addCleanup(what: string, undo: (signal: AbortSignal) => Promise<void>): void;
  /** Runs all removals, newest first; returns those that failed. */
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
      // A Datagrok server does not get a key of berth's own.
      if (options.key !== undefined || settings().datagrok.url !== undefined) return options.key ?? settings().datagrok.key;
      return readAdminKey({ dataFolder: settings().data, given: settings().adminKey });
    },
    signIn: async (base, key, signal) => {
      const { status, text } = await sendRequest(`${base}/users/login/dev`, { method: "POST", headers: { authorization: `Dev ${key}` }, signal });
      const { token } = (parseJson(text) ?? {}) as { token?: unknown };
      if (status < 300 && typeof token === "string") return token;
      throw new Fault("CHAIN_BROKEN", `${withoutSecrets(base)} does not accept the developer key: it answers ${status}.`);
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

/** A listener on all interfaces is called on the loopback interface. */
function publicAddress(settings: Settings, given: string | undefined): CheckContext["server"] {
  const named = given ?? settings.webRoot;
  if (named !== undefined) return { url: new URL(trimTrailing(named, "/").replace(/\/api$/, "")), named: true };
  if (settings.edgePort === 0)
    throw new Fault("CHAIN_BROKEN", "BERTH_EDGE_PORT is 0, so the edge's port is unknown. Name the public address with --server.");
  if (settings.tlsCert !== undefined)
    throw new Fault("CHAIN_BROKEN", "The edge uses TLS, and the name that its clients use is unknown. Name the public address with --server.");
  return { url: new URL(listenerUrl({ ...settings, edgeHost: localHost(settings.edgeHost) }, settings.edgePort)), named: false };
}

/** Below the public address; `path` begins with `/`. */
export function urlAt({ url }: CheckContext["server"], path: string): string {
  return `${url.origin}${trimTrailing(url.pathname, "/")}${path}`;
}

/** A problem, and what to do. A check with only warnings is ok. */
export type CheckProblem = { what: string; todo: string; kind: "wrong" | "warning" };

/** The result of a check; `unlooked` says why it was skipped. */
export type CheckResult = { says: string; problems?: readonly CheckProblem[] } | { unlooked: string };

export function failure(what: string, todo: string): CheckProblem {
  return { what, todo, kind: "wrong" };
}

export function warning(what: string, todo: string): CheckProblem {
  return { what, todo, kind: "warning" };
}

const DRIVER_ADVICE = new Map<string, { todo: string }>(Object.entries(ADVICE));

/** The problem behind an error of a check. A driver's fault has its own advice; others get the check's. */
export function problemOf(error: unknown, advice: string): CheckProblem {
  if (!(error instanceof Fault)) return failure(`The check itself failed: ${error instanceof Error ? error.message : String(error)}.`, advice);
  const todo = DRIVER_ADVICE.get(error.code)?.todo;
  const bare = todo !== undefined && error.message.endsWith(todo) ? error.message.slice(0, -todo.length).trimEnd() : error.message;
  return failure(bare, bare === error.message || todo === undefined ? advice : todo);
}

/** One step between a browser and a container that can fail by itself. */
export type Check = {
  name: string;
  /** Earlier checks that must not have failed. */
  needs: readonly string[];
  /** The time limit of the check. */
  ms: number | ((chain: CheckContext) => number);
  /** Registers a removal before it creates something. Its faults are problems. */
  check(chain: CheckContext, signal: AbortSignal): Promise<CheckResult>;
  /** What to do if the fault has no advice. */
  advice: string;
};
