import { runRegistryProxy } from "../processes/registry-proxy.ts";
import { untilOver } from "../processes/parent.ts";
import { begin, countHere, type Here, runtimeHere } from "./command-context.ts";
import { addressOf, tellConsolePort } from "./serve.ts";
import { VERSION } from "./version.ts";

/** `berth registry-proxy`: alone in front of a registry, beside a Datagrok server; or one of the processes of `berth serve`. */
export async function run(here: Here): Promise<void> {
  const { settings, log } = begin(here, "registry-proxy");
  const { metrics } = await countHere(here, settings, "registry-proxy", log);
  const handle = await here.parent?.handle();
  // Beside a Datagrok server it needs no data folder: there is no control to find.
  const runtime = here.parent !== undefined || settings.datagrok.url === undefined ? runtimeHere(here, settings) : undefined;
  await untilOver(async () => {
    const proxy = await runRegistryProxy({ settings, runtime, handle, clock: here.clock, log, metrics, version: VERSION });
    if (proxy.port !== undefined)
      console.log(`berth ${VERSION} registry proxy at ${addressOf({ ...settings, edgeHost: settings.registryHost }, proxy.port)}`);
    tellConsolePort(settings, proxy.consolePort);
    return proxy;
  }, here.parent);
}
