import { Fault } from "../../lib/fault.ts";
import { runRegistry } from "../../processes/registry.ts";
import { untilOver } from "../../processes/until-told.ts";
import { begin, countHere, type Here, runtimeHere } from "../command-context.ts";
import { addressOf, tellConsolePort } from "../serve.ts";
import { VERSION } from "../version.ts";

/** A registry of berth's own, with its proxy: alone, or one of the processes of `berth serve`. Faults: SETTINGS_INVALID, those of the registry. */
export async function runRole(here: Here): Promise<void> {
  const { settings, log } = begin(here, "registry");
  if (settings.registry.url !== undefined || settings.registry.ecrMode)
    throw new Fault(
      "SETTINGS_INVALID",
      "berth registry brings a registry, REGISTRY_URL or ECR_MODE names another: unset these, or run berth registry-proxy in front of that one.",
    );
  const { metrics } = await countHere(here, settings, "registry", log);
  const handle = await here.parent?.handle();
  await untilOver(async () => {
    const registry = await runRegistry({
      settings,
      runtime: runtimeHere(here, settings),
      withControl: here.parent !== undefined || settings.datagrok.url === undefined,
      path: here.env["PATH"] ?? "",
      handle,
      clock: here.clock,
      log,
      metrics,
      version: VERSION,
    });
    if (registry.port !== undefined)
      console.log(`berth ${VERSION} registry at ${addressOf({ ...settings, edgeHost: settings.registryHost }, registry.port)}`);
    tellConsolePort(settings, registry.consolePort);
    return registry;
  }, here.parent);
}
