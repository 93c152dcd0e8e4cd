import type { Settings } from "../conf/settings.ts";
import { Fault } from "../fault.ts";
import { controlHere } from "../gateway/feed/control-link.ts";
import type { Log } from "../log.ts";
import { controlOf } from "../roles/control-link.ts";
import { runGateway } from "../roles/gateway.ts";
import { serve } from "../roles/serve.ts";
import { untilOver } from "../roles/until-told.ts";
import { begin, type Here, runtimeHere } from "./here.ts";
import { readWords } from "./read-words.ts";
import { addressOf, reloadOnHangup, serveUntilTold } from "./serve.ts";
import { VERSION } from "./version.ts";

export const usage = `Usage: berth gateway [--control <url>] [--token <token>]
  --control  the control plane to join, on another machine, by its BERTH_GATEWAYS_PORT: https://host:port; or BERTH_CONTROL. BERTH_WORKERS says how
             many processes share the edge here. Without it, one gateway process of the control plane on this machine
  --token    what \`berth gateways token\` prints there. Whoever lists this machine's processes reads it: better BERTH_CONTROL_TOKEN_FILE, or
             BERTH_CONTROL_TOKEN`;

/** `berth gateway` */
export async function run(here: Here): Promise<void> {
  const env = { ...here.env, ...readAsked(here.args) };
  const { settings, log } = begin({ ...here, env }, "gateway");
  const elsewhere = controlOf(settings, here.clock);
  if (elsewhere !== undefined && here.parent === undefined) return joinWith(here, env, settings, log);
  const link = elsewhere ?? controlHere(runtimeHere(here, settings));
  const handle = await here.parent?.handle();
  await untilOver(() => runGateway({ settings, link, version: VERSION, handle, clock: here.clock, log }), here.parent);
}

/** As many processes as are wanted, each of which joins by itself. */
async function joinWith(here: Here, env: NodeJS.ProcessEnv, settings: Settings, log: Log): Promise<void> {
  const start = async () => {
    const served = await serve({
      script: here.script,
      env,
      host: settings.edgeHost,
      port: settings.edgePort,
      workers: settings.workers,
      joins: true,
      registry: undefined,
      drainMs: (settings.drainDelaySeconds + settings.drainSeconds) * 1_000,
      clock: here.clock,
      log,
    });
    reloadOnHangup(settings, served);
    return served;
  };
  await serveUntilTold(here, log, start, ({ port }) =>
    console.log(`berth ${VERSION} gateway at ${addressOf(settings, port)}, of ${settings.control.url}`),
  );
}

/** What the command line says goes before the environment, and reaches the processes below by it. */
function readAsked(args: string[]): NodeJS.ProcessEnv {
  const text = { type: "string" } as const;
  const { control, token } = readWords({ args, options: { control: text, token: text } }, usage).values;
  if (token !== undefined && control === undefined) throw new Fault("SETTINGS_INVALID", `--token goes with --control.\n${usage}`);
  return { ...(control === undefined ? {} : { BERTH_CONTROL: control }), ...(token === undefined ? {} : { BERTH_CONTROL_TOKEN: token }) };
}
