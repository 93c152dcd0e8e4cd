import type { Settings } from "../conf/settings.ts";
import { Fault } from "../lib/fault.ts";
import { controlHere } from "../gateway/feed/control-link.ts";
import type { Log } from "../lib/log.ts";
import { controlOf } from "../processes/remote-control.ts";
import { runGateway } from "../processes/gateway.ts";
import { serve } from "../processes/serve.ts";
import { untilOver } from "../processes/parent.ts";
import { begin, countHere, type Here, runtimeHere } from "./command-context.ts";
import { addressOf, reloadOnHangup, serveUntilTold, tellMetricsPort, watchdogMs } from "./serve.ts";
import { verb, type Verbs } from "./command.ts";
import { VERSION } from "./version.ts";

/** Beside a control process, of one elsewhere, or before a Datagrok server; or one of the processes of `berth serve`. */
export const verbs: Verbs = {
  "": verb({
    words: "",
    says: "serve the edge for a control plane: on another machine with --control, else on this one; or for a Datagrok server (BERTH_DIRECTORY)",
    more: "BERTH_WORKERS says how many processes share the edge here; beside a control plane of this machine it is one.",
    options: {
      control: { takes: "<url>", says: "the control plane to join, by its BERTH_GATEWAYS_PORT: https://host:port; or BERTH_CONTROL" },
      token: {
        takes: "<token>",
        says: "what `berth gateways token` prints there; others on this machine see it in `ps`, so prefer BERTH_CONTROL_TOKEN_FILE or BERTH_CONTROL_TOKEN",
      },
    },
    run: async ({ here, given: { control, token } }) => {
      if (token !== undefined && control === undefined)
        throw new Fault("SETTINGS_INVALID", "--token goes with --control: berth gateway --control <url> --token <token>.");
      // What the command line says goes before the environment, and reaches the processes below by it.
      const said = { ...(control === undefined ? {} : { BERTH_CONTROL: control }), ...(token === undefined ? {} : { BERTH_CONTROL_TOKEN: token }) };
      await runRole(here, { ...here.env, ...said });
    },
  }),
};

async function runRole(here: Here, env: NodeJS.ProcessEnv): Promise<void> {
  const { settings, log } = begin({ ...here, env }, "gateway");
  const elsewhere = controlOf(settings, here.clock);
  const isBefore = settings.datagrok.directory === "datagrok";
  if (elsewhere !== undefined && isBefore)
    throw new Fault(
      "SETTINGS_INVALID",
      "BERTH_CONTROL names a control plane, BERTH_DIRECTORY=datagrok a Datagrok server to ask instead: set one of them.",
    );
  if ((elsewhere !== undefined || isBefore) && here.parent === undefined) return serveAll(here, env, settings, log);
  const link = elsewhere ?? controlHere(runtimeHere(here, settings));
  const { metrics } = await countHere(here, settings, "gateway", log);
  const handle = await here.parent?.handle();
  await untilOver(async () => {
    const gateway = await runGateway({ settings, link, version: VERSION, handle, metrics, clock: here.clock, log });
    if (gateway.port !== undefined) console.log(`berth ${VERSION} gateway at ${addressOf(settings, gateway.port)}`);
    return gateway;
  }, here.parent);
}

/** As many processes as are wanted, each of which asks for itself. */
async function serveAll(here: Here, env: NodeJS.ProcessEnv, settings: Settings, log: Log): Promise<void> {
  const counted = await countHere(here, settings, "serve", log);
  const start = async () => {
    const served = await serve({
      script: here.script,
      env,
      host: settings.edgeHost,
      port: settings.edgePort,
      workers: settings.workers,
      joins: true,
      registry: undefined,
      metrics: counted.gathering && { gathering: counted.gathering, own: counted.metrics },
      watchdogMs: watchdogMs(settings),
      drainMs: (settings.drainDelaySeconds + settings.drainSeconds) * 1_000,
      clock: here.clock,
      log,
    });
    reloadOnHangup(settings, served);
    return served;
  };
  const of = settings.control.url ?? settings.datagrok.url;
  await serveUntilTold(here, log, start, ({ port }) => {
    console.log(`berth ${VERSION} gateway at ${addressOf(settings, port)} of ${of}`);
    tellMetricsPort(settings, counted.port);
  });
}
