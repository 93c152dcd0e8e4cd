import type { Settings } from "../conf/settings.ts";
import { descriptorLimit, FEW_DESCRIPTORS } from "../lib/connection-limits.ts";
import { Fault } from "../lib/fault.ts";
import type { Log } from "../lib/log.ts";
import { findPredecessor, HANDOVER_NAME, type Predecessor, resumeLater, startSuccessor } from "../processes/handover.ts";
import { calloutSettingsFault, consoleListenerAt, consoleSettingsFault, type ListeningHandle } from "../processes/listeners.ts";
import { oidcSettingsFault } from "../processes/sign-in-providers.ts";
import { notifySystemd, startSystemdWatchdog } from "../processes/notify-systemd.ts";
import { openParentSocket } from "../processes/parent-socket.ts";
import { collectStartGarbage, untilSignal } from "../processes/parent.ts";
import { serve, type Served } from "../processes/serve.ts";
import { writesAccessLogFile } from "../processes/telemetry.ts";
import { type CommandContext, loadSettingsAndLog, openRuntime, publishProcessMetrics } from "./command-context.ts";
import { VERSION } from "./version.ts";

/** `berth serve`, started by a user or by a berth that hands over to it. */
export async function run(given: CommandContext): Promise<void> {
  const predecessor = await findPredecessor(given.env);
  const { [HANDOVER_NAME]: _, ...env } = given.env;
  const context = { ...given, env };
  try {
    const { settings, log } = loadSettingsAndLog(context, "serve");
    const descriptors = descriptorLimit();
    if (descriptors !== undefined && descriptors < FEW_DESCRIPTORS)
      log.warn({ limit: descriptors, recommended: FEW_DESCRIPTORS }, "few file descriptors: raise the limit of open files (nofile)");
    checkControl(settings);
    const start = async () => {
      const served = await startServe(context, settings, log, {}, predecessor);
      void predecessor?.report({ kind: "prepared" });
      return served;
    };
    await serveUntilStopped(
      { ...context, mainPid: predecessor && process.pid },
      log,
      start,
      (served) => {
        void predecessor?.report({ kind: "ready", version: VERSION });
        console.log(`berth ${VERSION} at ${listenerUrl(settings, served.port)}`);
        if (served.consolePort !== undefined) console.log(`console at ${listenerUrl(settings, served.consolePort)}`);
        if (served.registryPort !== undefined)
          console.log(`registry proxy at ${listenerUrl({ ...settings, edgeHost: settings.registryHost }, served.registryPort)}`);
        if (served.spawnerPort !== undefined)
          console.log(`spawner at ${listenerUrl({ edgeHost: settings.spawnerHost, tlsCert: undefined }, served.spawnerPort)}`);
        printMetricsUrl(settings, served.metricsPort);
      },
      (served) => untilHandedOver(context, served, openRuntime(context, settings).parentSocket, log),
    );
  } catch (error) {
    await predecessor?.report({ kind: "fault", message: error instanceof Fault ? error.message : "The new program failed; its log has the reason." });
    throw error;
  }
}

/**
 * Starts the processes, announces that they are ready, and stops them on a signal; or when `handedOver` resolves, which is called once they are ready:
 * then another berth accepts in their place.
 */
export async function serveUntilStopped<S extends Served>(
  context: CommandContext & { mainPid?: number | undefined },
  log: Log,
  start: () => Promise<S>,
  announce: (served: S) => void,
  handedOver: (served: S) => Promise<void> = () => new Promise(() => {}),
): Promise<void> {
  const stopRequested = untilSignal();
  const endWatchdog = startSystemdWatchdog({ env: context.env, clock: context.clock, log });
  const served = await start();
  let cancelCollection = () => {};
  let isHandedOver = false;
  const runUntilHandedOver = async () => {
    await served.ready;
    announce(served);
    cancelCollection = collectStartGarbage(context.clock);
    void notifySystemd("ready", { env: context.env, mainPid: context.mainPid, log });
    await Promise.race([stopRequested, handedOver(served).then(() => (isHandedOver = true))]);
  };
  try {
    await Promise.race([runUntilHandedOver(), stopRequested]);
  } finally {
    if (!isHandedOver) void notifySystemd("stopping", { env: context.env, log });
    await served.stop(isHandedOver);
    endWatchdog();
    cancelCollection();
  }
}

/** Faults: SETTINGS_INVALID. */
function checkControl({ control, database, gateways }: Settings): void {
  if (control.url.length === 0) return;
  if (database.url === undefined)
    throw new Fault(
      "SETTINGS_INVALID",
      "BERTH_CONTROL names another control plane, but `berth serve` has its own. Run `berth gateway` to join that one, or set BERTH_DATABASE_URL on both.",
    );
  if (gateways.port === undefined)
    throw new Fault(
      "SETTINGS_INVALID",
      "BERTH_CONTROL names other control processes, but BERTH_GATEWAYS_PORT is not set: their machines reach this one there when it leads.",
    );
}

/** Resolves when the program at the same path has taken over, which `berth upgrade` requests. */
async function untilHandedOver(
  context: CommandContext,
  served: Served & { metricsHandle: object | undefined },
  path: string,
  log: Log,
): Promise<void> {
  const over = Promise.withResolvers<void>();
  let handing: Promise<string> | undefined;
  const handOver = async (program: string | undefined) => {
    const { script, env, clock } = context;
    const listeners = new Map([
      ...served.listeners,
      ...(served.metricsHandle ? ([["metrics", served.metricsHandle as ListeningHandle]] as const) : []),
    ]);
    const successor = await startSuccessor({ program, script, env, listeners, clock });
    log.info({}, "handing over: control ends, gateways go on");
    void served.release(successor.release);
    try {
      const version = await successor.ready;
      log.info({ version }, "handed over");
      return version;
    } catch (error) {
      successor.kill();
      throw error;
    }
  };
  /** After a handover, the next berth has its socket at the same path. */
  const open = () =>
    openParentSocket(
      path,
      {
        handOver: async (program) => {
          // Two programs at once would compete for control's data.
          if (handing) throw new Fault("PROGRAM_UNUSABLE", "Another upgrade is under way.");
          socket.close();
          handing = handOver(program);
          try {
            const version = await handing;
            // After the response.
            setImmediate(over.resolve);
            return version;
          } catch (error) {
            log.error({ err: error }, "handing over failed");
            socket = await open();
            // The caller restores the old program first. This berth continues even if it does not.
            resumeLater({ resume: served.resume, isHandingOver: () => handing !== undefined, clock: context.clock, log });
            throw error;
          } finally {
            handing = undefined;
          }
        },
        resume: async () => {
          await served.resume();
          return VERSION;
        },
        limits: () => ({ pid: process.pid, openFiles: descriptorLimit() }),
      },
      log,
    );
  let socket = await open();
  return over.promise;
}

/** Starts the processes of one berth; `more` extends their environment. */
export async function startServe(
  context: CommandContext,
  settings: Settings,
  log: Log,
  more: NodeJS.ProcessEnv = {},
  inherited?: Pick<Predecessor, "listeners" | "released">,
): Promise<Served & { metricsPort: number | undefined; metricsHandle: object | undefined }> {
  if (settings.datagrok.directory === "datagrok")
    throw new Fault("SETTINGS_INVALID", "BERTH_DIRECTORY=datagrok is for `berth gateway`, which needs no control plane. Run that, or unset it.");
  const fault = consoleSettingsFault(settings) ?? calloutSettingsFault(settings) ?? oidcSettingsFault(settings);
  if (fault !== undefined) throw fault;
  const { script, env, clock } = context;
  const counted = await publishProcessMetrics(context, settings, "serve", log, inherited?.listeners.get("metrics"));
  const served = await serve({
    ...(inherited && { inherited }),
    script,
    env: { ...env, ...more },
    host: settings.edgeHost,
    port: settings.edgePort,
    workers: settings.workers,
    registry: registryListener(settings),
    spawner: settings.spawner ? { host: settings.spawnerHost, port: settings.spawnerPort } : undefined,
    console: consoleListenerAt(settings),
    metrics: counted.gathering && { gathering: counted.gathering, own: counted.metrics },
    watchdogMs: watchdogMs(settings),
    drainMs: (settings.drainDelaySeconds + settings.drainSeconds) * 1_000,
    clock,
    log,
  });
  reloadOnHangup(settings, served);
  return { ...served, metricsPort: counted.port, metricsHandle: counted.handle };
}

/** Undefined: no watchdog. */
export function watchdogMs({ watchdogSeconds }: Settings): number | undefined {
  return watchdogSeconds === 0 ? undefined : watchdogSeconds * 1_000;
}

/** Without a certificate or a log file to reload, SIGHUP ends the program as usual. */
export function reloadOnHangup(settings: Settings, served: Served): void {
  if (settings.tlsCert !== undefined || writesAccessLogFile(settings)) process.on("SIGHUP", served.reload);
}

/** The registry's listener and the role that opens it. The registry is a configured one, ECR, or berth's own. Faults: SETTINGS_INVALID for two of these. */
export function registryListener({
  registry,
  registryHost: host,
  registryPort: port,
  registryCache,
}: Settings): { role: string; host: string; port: number } | undefined {
  const isNamed = registry.url !== undefined || registry.ecrMode;
  if (registry.kind !== "embedded" && !isNamed && registryCache.upstreams.length > 0)
    throw new Fault("SETTINGS_INVALID", "BERTH_REGISTRY_CACHE needs a registry beside it: set BERTH_REGISTRY=embedded, or REGISTRY_URL.");
  if (registry.kind !== "embedded") return isNamed ? { role: "registry-proxy", host, port } : undefined;
  if (isNamed)
    throw new Fault("SETTINGS_INVALID", "BERTH_REGISTRY=embedded runs a registry, and REGISTRY_URL or ECR_MODE names another: set one of them.");
  return { role: "registry", host, port };
}

export function printMetricsUrl({ metricsHost }: Settings, port: number | undefined): void {
  if (port !== undefined) console.log(`metrics at ${listenerUrl({ edgeHost: metricsHost, tlsCert: undefined }, port)}/metrics`);
}

export function listenerUrl({ edgeHost, tlsCert }: Pick<Settings, "edgeHost" | "tlsCert">, port: number): string {
  return `${tlsCert === undefined ? "http" : "https"}://${edgeHost.includes(":") ? `[${edgeHost}]` : edgeHost}:${port}`;
}

/** The address at which this machine reaches a listener: one on all interfaces is called on the loopback interface. */
export function localHost(host: string): string {
  return host === "0.0.0.0" ? "127.0.0.1" : host === "::" ? "::1" : host;
}
