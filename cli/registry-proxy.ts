import { runRegistryProxy } from "../processes/registry-proxy.ts";
import { runUntilStopped } from "../processes/parent.ts";
import { loadSettingsAndLog, publishProcessMetrics, type CommandContext, openRuntime } from "./command-context.ts";
import { listenerUrl, printConsoleUrl } from "./serve.ts";
import { VERSION } from "./version.ts";

/** `berth registry-proxy`: alone in front of a registry, beside a Datagrok server; or one of the processes of `berth serve`. */
export async function run(context: CommandContext): Promise<void> {
  const { settings, log } = loadSettingsAndLog(context, "registry-proxy");
  const { metrics } = await publishProcessMetrics(context, settings, "registry-proxy", log);
  const handle = await context.parent?.handle();
  // Beside a Datagrok server it needs no data folder: there is no control to find.
  const runtime = context.parent !== undefined || settings.datagrok.url === undefined ? openRuntime(context, settings) : undefined;
  await runUntilStopped(async () => {
    const proxy = await runRegistryProxy({ settings, runtime, handle, clock: context.clock, log, metrics, version: VERSION });
    if (proxy.port !== undefined)
      console.log(`berth ${VERSION} registry proxy at ${listenerUrl({ ...settings, edgeHost: settings.registryHost }, proxy.port)}`);
    printConsoleUrl(settings, proxy.consolePort);
    return proxy;
  }, context.parent);
}
