import type { Settings } from "../conf/settings.ts";
import { Fault } from "../lib/fault.ts";
import type { Log } from "../lib/log.ts";
import { configuredControlLink } from "../processes/control-link.ts";
import { runGateway } from "../processes/gateway.ts";
import { serve } from "../processes/serve.ts";
import { runUntilStopped } from "../processes/parent.ts";
import { loadSettingsAndLog, openControlLink, publishProcessMetrics, type CommandContext } from "./command-context.ts";
import { listenerUrl, reloadOnHangup, serveUntilStopped, printMetricsUrl, watchdogMs } from "./serve.ts";
import { defineVerb, type Verbs } from "./command.ts";
import { VERSION } from "./version.ts";

/** `berth gateway`: for control on this or another machine, or for a Datagrok server; also a process of `berth serve`. */
export const verbs: Verbs = {
  "": defineVerb({
    words: "",
    summary: "serve the edge for a control plane: on another machine with --control, else on this one; or for a Datagrok server (BERTH_DIRECTORY)",
    details: "BERTH_WORKERS sets how many processes share the edge; for a control plane on this machine there is one.",
    options: {
      control: {
        value: "<url>",
        summary: "control plane to join, at its BERTH_GATEWAYS_PORT: https://host:port, or several with commas between; same as BERTH_CONTROL",
      },
      token: {
        value: "<token>",
        summary:
          "output of `berth gateways token` there; others on this machine see it in `ps`, so prefer BERTH_CONTROL_TOKEN_FILE or BERTH_CONTROL_TOKEN",
      },
    },
    run: async ({ context, options: { control, token } }) => {
      if (token !== undefined && control === undefined)
        throw new Fault("SETTINGS_INVALID", "--token goes with --control: berth gateway --control <url> --token <token>.");
      // Options override the environment, which also reaches the child processes.
      const overrides = {
        ...(control === undefined ? {} : { BERTH_CONTROL: control }),
        ...(token === undefined ? {} : { BERTH_CONTROL_TOKEN: token }),
      };
      await runGatewayProcess(context, { ...context.env, ...overrides });
    },
  }),
};

async function runGatewayProcess(context: CommandContext, env: NodeJS.ProcessEnv): Promise<void> {
  const { settings, log } = loadSettingsAndLog({ ...context, env }, "gateway");
  const isElsewhere = settings.control.url.length > 0;
  const isBefore = settings.datagrok.directory === "datagrok";
  if (isElsewhere && isBefore)
    throw new Fault(
      "SETTINGS_INVALID",
      "BERTH_CONTROL names a control plane, and BERTH_DIRECTORY=datagrok a Datagrok server instead: set one of them.",
    );
  if ((isElsewhere || isBefore) && context.parent === undefined) return startGateways(context, env, settings, log);
  const { metrics } = await publishProcessMetrics(context, settings, "gateway", log);
  const handle = await context.parent?.handle();
  const link = openControlLink(context, settings);
  await runUntilStopped(async () => {
    const gateway = await runGateway({ settings, link, version: VERSION, handle, metrics, clock: context.clock, log });
    if (gateway.port !== undefined) console.log(`berth ${VERSION} gateway at ${listenerUrl(settings, gateway.port)}`);
    return gateway;
  }, context);
}

/** Starts the gateway processes; each queries the control plane or the server by itself. */
async function startGateways(context: CommandContext, env: NodeJS.ProcessEnv, settings: Settings, log: Log): Promise<void> {
  // Its faults are for the user, not for each process.
  configuredControlLink(settings, context.clock);
  const counted = await publishProcessMetrics(context, settings, "serve", log);
  const start = async () => {
    const served = await serve({
      script: context.script,
      env,
      host: settings.edgeHost,
      port: settings.edgePort,
      workers: settings.workers,
      joins: true,
      registry: undefined,
      metrics: counted.gathering && { gathering: counted.gathering, own: counted.metrics },
      watchdogMs: watchdogMs(settings),
      drainMs: (settings.drainDelaySeconds + settings.drainSeconds) * 1_000,
      clock: context.clock,
      log,
    });
    reloadOnHangup(settings, served);
    return served;
  };
  const of = settings.control.url.join(", ") || settings.datagrok.url;
  await serveUntilStopped(context, log, start, ({ port }) => {
    console.log(`berth ${VERSION} gateway at ${listenerUrl(settings, port)} of ${of}`);
    printMetricsUrl(settings, counted.port);
  });
}
