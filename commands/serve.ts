import type { Settings } from "../conf/settings.ts";
import type { Log } from "../log.ts";
import { type Served, serve } from "../roles/serve.ts";
import { untilTold } from "../roles/until-told.ts";
import { begin, type Here } from "./here.ts";
import { VERSION } from "./version.ts";

/** `berth serve` */
export async function run(here: Here): Promise<void> {
  const { settings, log } = begin(here, "serve");
  const served = await serveHere(here, settings, log);
  console.log(`berth ${VERSION} at ${addressOf(settings.edgeHost, served.port)}`);
  await untilTold();
  await served.stop();
}

/** The processes of one berth; `env` is what theirs has beside ours. */
export function serveHere({ script, env, clock }: Here, settings: Settings, log: Log, more: NodeJS.ProcessEnv = {}): Promise<Served> {
  return serve({
    script,
    env: { ...env, ...more },
    host: settings.edgeHost,
    port: settings.edgePort,
    workers: settings.workers,
    drainMs: settings.drainSeconds * 1_000,
    clock,
    log,
  });
}

export function addressOf(host: string, port: number): string {
  return `http://${host.includes(":") ? `[${host}]` : host}:${port}`;
}
