import type { Settings } from "../conf/settings.ts";
import { Fault } from "../fault.ts";
import type { Log } from "../log.ts";
import { type Served, serve } from "../roles/serve.ts";
import { tellSystemd } from "../roles/tell-systemd.ts";
import { untilTold } from "../roles/until-told.ts";
import { begin, type Here } from "./here.ts";
import { VERSION } from "./version.ts";

/** `berth serve` */
export async function run(here: Here): Promise<void> {
  const { settings, log } = begin(here, "serve");
  const told = untilTold();
  const served = await serveHere(here, settings, log);
  const announced = served.ready.then(() => {
    console.log(`berth ${VERSION} at ${addressOf(settings, served.port)}`);
    if (served.registryPort !== undefined)
      console.log(`registry proxy at ${addressOf({ ...settings, edgeHost: settings.registryHost }, served.registryPort)}`);
    if (served.spawnerPort !== undefined)
      console.log(`spawner at ${addressOf({ edgeHost: settings.spawnerHost, tlsCert: undefined }, served.spawnerPort)}`);
    void tellSystemd("ready", { env: here.env, log });
    return told;
  });
  try {
    await Promise.race([announced, told]);
  } finally {
    void tellSystemd("stopping", { env: here.env, log });
    await served.stop();
  }
}

/** The processes of one berth, as they start; `more` is what their environment has beside ours. */
export async function serveHere({ script, env, clock }: Here, settings: Settings, log: Log, more: NodeJS.ProcessEnv = {}): Promise<Served> {
  if (settings.datagrok.directory === "datagrok")
    throw new Fault(
      "SETTINGS_INVALID",
      "BERTH_DIRECTORY=datagrok is for `berth gateway`, which needs no control plane beside it: run that, or leave it out.",
    );
  const served = await serve({
    script,
    env: { ...env, ...more },
    host: settings.edgeHost,
    port: settings.edgePort,
    workers: settings.workers,
    registry: registryAt(settings),
    spawner: settings.spawner ? { host: settings.spawnerHost, port: settings.spawnerPort } : undefined,
    drainMs: (settings.drainDelaySeconds + settings.drainSeconds) * 1_000,
    clock,
    log,
  });
  // Where there is nothing to read again, the signal ends the program, as it does others whose terminal is gone.
  if (settings.tlsCert !== undefined) process.on("SIGHUP", served.reload);
  return served;
}

/** Where a berth of these settings has its registry's listener, and the role that opens it. A registry is named, or is Amazon's, or berth brings its own. Faults: SETTINGS_INVALID for two of these. */
export function registryAt({ registry, registryHost: host, registryPort: port }: Settings): { role: string; host: string; port: number } | undefined {
  const isNamed = registry.url !== undefined || registry.ecrMode;
  if (registry.kind !== "embedded") return isNamed ? { role: "registry-proxy", host, port } : undefined;
  if (isNamed)
    throw new Fault("SETTINGS_INVALID", "BERTH_REGISTRY=embedded brings a registry, REGISTRY_URL or ECR_MODE names another: set one of them.");
  return { role: "registry", host, port };
}

export function addressOf({ edgeHost, tlsCert }: Pick<Settings, "edgeHost" | "tlsCert">, port: number): string {
  return `${tlsCert === undefined ? "http" : "https"}://${edgeHost.includes(":") ? `[${edgeHost}]` : edgeHost}:${port}`;
}
