import type { Settings } from "../conf/settings.ts";
import { Fault } from "../fault.ts";
import type { Log } from "../log.ts";
import { type Served, serve } from "../roles/serve.ts";
import { writesFile } from "../roles/open-access.ts";
import { keepSystemdWatchdog, tellSystemd } from "../roles/tell-systemd.ts";
import { untilTold } from "../roles/until-told.ts";
import { begin, countHere, type Here } from "./here.ts";
import { VERSION } from "./version.ts";

/** `berth serve` */
export async function run(here: Here): Promise<void> {
  const { settings, log } = begin(here, "serve");
  if (settings.control.url !== undefined)
    throw new Fault(
      "SETTINGS_INVALID",
      "BERTH_CONTROL names another berth's control plane, which `berth gateway` joins: `berth serve` brings its own.",
    );
  await serveUntilTold(
    here,
    log,
    () => serveHere(here, settings, log),
    (served) => {
      console.log(`berth ${VERSION} at ${addressOf(settings, served.port)}`);
      if (served.registryPort !== undefined)
        console.log(`registry proxy at ${addressOf({ ...settings, edgeHost: settings.registryHost }, served.registryPort)}`);
      if (served.spawnerPort !== undefined)
        console.log(`spawner at ${addressOf({ edgeHost: settings.spawnerHost, tlsCert: undefined }, served.spawnerPort)}`);
      tellMetricsPort(settings, served.metricsPort);
    },
  );
}

/** Starts the processes, says so once they are ready, and goes on until told to end, and ends them. */
export async function serveUntilTold<S extends Served>(here: Here, log: Log, start: () => Promise<S>, announce: (served: S) => void): Promise<void> {
  const told = untilTold();
  const endWatchdog = keepSystemdWatchdog({ env: here.env, clock: here.clock, log });
  const served = await start();
  const announced = served.ready.then(() => {
    announce(served);
    void tellSystemd("ready", { env: here.env, log });
    return told;
  });
  try {
    await Promise.race([announced, told]);
  } finally {
    void tellSystemd("stopping", { env: here.env, log });
    await served.stop();
    endWatchdog();
  }
}

/** The processes of one berth, as they start; `more` is what their environment has beside ours. */
export async function serveHere(
  here: Here,
  settings: Settings,
  log: Log,
  more: NodeJS.ProcessEnv = {},
): Promise<Served & { metricsPort: number | undefined }> {
  if (settings.datagrok.directory === "datagrok")
    throw new Fault(
      "SETTINGS_INVALID",
      "BERTH_DIRECTORY=datagrok is for `berth gateway`, which needs no control plane beside it: run that, or leave it out.",
    );
  const { script, env, clock } = here;
  const counted = await countHere(here, settings, "serve", log);
  const served = await serve({
    script,
    env: { ...env, ...more },
    host: settings.edgeHost,
    port: settings.edgePort,
    workers: settings.workers,
    registry: registryAt(settings),
    spawner: settings.spawner ? { host: settings.spawnerHost, port: settings.spawnerPort } : undefined,
    metrics: counted.gathering && { gathering: counted.gathering, own: counted.metrics },
    watchdogMs: watchdogMs(settings),
    drainMs: (settings.drainDelaySeconds + settings.drainSeconds) * 1_000,
    clock,
    log,
  });
  reloadOnHangup(settings, served);
  return { ...served, metricsPort: counted.port };
}

/** Undefined where nobody is to check. */
export function watchdogMs({ watchdogSeconds }: Settings): number | undefined {
  return watchdogSeconds === 0 ? undefined : watchdogSeconds * 1_000;
}

/** Where there is nothing to read or to open again, the signal ends the program, as it does others whose terminal is gone. */
export function reloadOnHangup(settings: Settings, served: Served): void {
  if (settings.tlsCert !== undefined || writesFile(settings)) process.on("SIGHUP", served.reload);
}

/** Where a berth of these settings has its registry's listener, and the role that opens it. A registry is named, or is Amazon's, or berth brings its own. Faults: SETTINGS_INVALID for two of these. */
export function registryAt({ registry, registryHost: host, registryPort: port }: Settings): { role: string; host: string; port: number } | undefined {
  const isNamed = registry.url !== undefined || registry.ecrMode;
  if (registry.kind !== "embedded") return isNamed ? { role: "registry-proxy", host, port } : undefined;
  if (isNamed)
    throw new Fault("SETTINGS_INVALID", "BERTH_REGISTRY=embedded brings a registry, REGISTRY_URL or ECR_MODE names another: set one of them.");
  return { role: "registry", host, port };
}

export function tellMetricsPort({ metricsHost }: Settings, port: number | undefined): void {
  if (port !== undefined) console.log(`metrics at ${addressOf({ edgeHost: metricsHost, tlsCert: undefined }, port)}/metrics`);
}

/** The console of a registry without a control plane. */
export function tellConsolePort({ registryHost, tlsCert }: Settings, port: number | undefined): void {
  if (port !== undefined) console.log(`console at ${addressOf({ edgeHost: registryHost, tlsCert }, port)}`);
}

export function addressOf({ edgeHost, tlsCert }: Pick<Settings, "edgeHost" | "tlsCert">, port: number): string {
  return `${tlsCert === undefined ? "http" : "https"}://${edgeHost.includes(":") ? `[${edgeHost}]` : edgeHost}:${port}`;
}
