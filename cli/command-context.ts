import { readFileSync } from "node:fs";
import { type ParseSettingsFile, type ReadSettings, readSettings, SETTINGS_FILE, SETTINGS_FILE_NAME } from "../conf/read-settings.ts";
import type { Settings } from "../conf/settings.ts";
import { readAdminKey } from "../control/identity/admin-key.ts";
import type { Clock } from "../lib/clock.ts";
import { Fault } from "../lib/fault.ts";
import { type Log, openLog } from "../lib/log.ts";
import { type Metrics, openMetrics } from "../lib/metrics/open-metrics.ts";
import { ownBuild } from "../lib/own-files.ts";
import { privateListeners } from "../lib/refused-addresses.ts";
import { type ControlLink, localControl } from "../gateway/feed/control-client.ts";
import { configuredControlLink, serveControlLink } from "../processes/control-link.ts";
import type { Parent } from "../processes/parent.ts";
import { hasApiSocket, openRuntimeFolder, type RuntimeFolder, runtimePlace } from "../processes/runtime-folder.ts";
import { type PublishedMetrics, publishMetrics } from "../processes/telemetry.ts";
import { type CallApi, createServerClient, type ServerClient } from "./server/server-client.ts";
import { VERSION } from "./version.ts";

/** What a command is started with. */
export type CommandContext = {
  env: NodeJS.ProcessEnv;
  /** The arguments after the command's name. */
  args: string[];
  /** The script to start other processes with; undefined in the single executable. */
  script: string | undefined;
  parent: Parent | undefined;
  /** Undefined if there is no settings file. */
  parseSettingsFile: ParseSettingsFile | undefined;
  clock: Clock;
};

/** Faults: SETTINGS_INVALID with a line per mistake. */
export function loadSettings({ env, parseSettingsFile: parse }: Pick<CommandContext, "env" | "parseSettingsFile">): ReadSettings {
  const path = env[SETTINGS_FILE_NAME] ?? SETTINGS_FILE;
  const file = parse && { path, text: loadTextFile(path, `The settings file ${path}`), parse };
  return readSettings({ env, file, readText: (secret) => readFileSync(secret, "utf8") });
}

/** The settings and a log, for long-running processes. */
export function loadSettingsAndLog(context: CommandContext, role: string): ReadSettings & { log: Log } {
  const loaded = loadSettings(context);
  const log = openLog({ level: loaded.settings.logLevel, name: role });
  // Only the parent logs them: all processes read the same settings.
  if (!context.parent) for (const warning of loaded.warnings) log.warn({}, warning);
  return { ...loaded, log };
}

/** The metrics of this process, published to its parent or at the metrics port. Faults: ADDRESS_IN_USE. */
export async function publishProcessMetrics(
  context: Pick<CommandContext, "parent" | "clock">,
  settings: Settings,
  role: string,
  log: Log,
  handle?: object,
): Promise<PublishedMetrics & { metrics: Metrics }> {
  const { metricsHost: host, metricsPort: port } = settings;
  const metrics = openMetrics();
  const program = { version: VERSION, commit: ownBuild()?.commit ?? "" };
  const at = port === undefined ? undefined : { host, port, handle };
  const listeners = privateListeners({ subnets: settings.dockerSubnets, allowed: settings.privateFromContainers, log });
  return { metrics, ...(await publishMetrics({ role, metrics, program, at, listeners, clock: context.clock, log }, context.parent)) };
}

export function openRuntime(context: Pick<CommandContext, "env">, settings: Settings): RuntimeFolder {
  return openRuntimeFolder(runtimePlace(context.env, settings.data));
}

/** The control plane that a process of this machine follows. Call it with the handle of the process, if it has a parent. Faults: SETTINGS_INVALID. */
export function openControlLink(context: CommandContext, settings: Settings): ControlLink {
  const runtime = () => openRuntime(context, settings);
  if (context.parent?.isBesideControl()) return serveControlLink({ settings, runtime: runtime(), clock: context.clock });
  return configuredControlLink(settings, context.clock) ?? localControl(runtime());
}

/** The berth on the same data folder, as its first user unless a key is given. Faults: CONTROL_AWAY if none runs. */
export function localServer(context: CommandContext, { key: given, bareKey }: { key: string | undefined; bareKey: boolean }): ServerClient {
  const { settings } = loadSettings(context);
  const away = "Start it first, set BERTH_DATA to its folder, or name another server with --server.";
  const key = given ?? readAdminKey({ dataFolder: settings.data, given: settings.adminKey });
  // A standby may have no key. It responds to every call with the leader's address.
  if (key === undefined && !hasApiSocket(runtimePlace(context.env, settings.data)))
    throw new Fault("CONTROL_AWAY", `No berth runs on the data folder ${settings.data}. ${away}`);
  const hints = { away, key: given === undefined ? "Run this with the BERTH_ADMIN_KEY that it was started with." : "" };
  const name = `the berth on the data folder ${settings.data}`;
  const place = { socket: openRuntime(context, settings).apiSocket };
  return createServerClient({ name, place, key: key ?? "", bareKey, hints, clock: context.clock });
}

/** The API of the berth on the same data folder, as its first user. */
export function localApi(context: CommandContext): CallApi {
  return async (method, path, body, limitMs) => localServer(context, { key: undefined, bareKey: true }).call(method, path, body, limitMs);
}

/** The text of a file that an option or a setting names. `what` is for the message. Faults: SETTINGS_INVALID. */
export function loadTextFile(path: string, what = path): string {
  try {
    return readFileSync(path, "utf8");
  } catch (cause) {
    throw new Fault("SETTINGS_INVALID", `${what} cannot be read: ${(cause as Error).message}.`, { cause });
  }
}
