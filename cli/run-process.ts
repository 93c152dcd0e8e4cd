import type { Settings } from "../conf/settings.ts";
import { Fault } from "../lib/fault.ts";
import { consoleListenerAt, openListeningHandle } from "../processes/listeners.ts";
import { runUntilStopped } from "../processes/parent.ts";
import { type CommandContext, loadSettingsAndLog, openControlLink, openRuntime, publishProcessMetrics } from "./command-context.ts";
import { listenerUrl } from "./serve.ts";
import { VERSION } from "./version.ts";

// The commands that run one process: by itself, or as a process of `berth serve`. Each loads only its own process.

/** `berth control` */
export async function runControlProcess(context: CommandContext): Promise<void> {
  const { runControl } = await import("../processes/control.ts");
  const loaded = loadSettingsAndLog(context, "control");
  const deps = { ...(await processDeps(context, "control", loaded)), sources: loaded.sources, env: context.env };
  const runtime = openRuntime(context, deps.settings);
  await context.parent?.released();
  const at = consoleListenerAt(deps.settings);
  const consoleHandle = at && (context.parent ? await context.parent.handle() : (await openListeningHandle(at, context.clock)).handle);
  await runUntilStopped(() => runControl({ ...deps, runtime, consoleHandle }), context);
}

/** `berth spawner`: in grok_spawner's place, or for a berth on another machine. */
export async function runSpawnerProcess(context: CommandContext): Promise<void> {
  const { runSpawner } = await import("../processes/spawner.ts");
  const deps = await processDeps(context, "spawner");
  const handle = await context.parent?.handle();
  const link = context.parent === undefined ? undefined : openControlLink(context, deps.settings);
  await runUntilStopped(async () => {
    const spawner = await runSpawner({ ...deps, link, handle });
    if (spawner.port !== undefined)
      console.log(`berth ${VERSION} spawner at ${listenerUrl({ edgeHost: deps.settings.spawnerHost, tlsCert: undefined }, spawner.port)}`);
    return spawner;
  }, context);
}

/** `berth registry-proxy`: in front of a registry, beside a Datagrok server. */
export async function runRegistryProxyProcess(context: CommandContext): Promise<void> {
  const { runRegistryProxy } = await import("../processes/registry-proxy.ts");
  const deps = await processDeps(context, "registry-proxy");
  const handle = await context.parent?.handle();
  // Beside a Datagrok server there is no control, and so no data folder.
  const link = hasControl(context, deps.settings) ? openControlLink(context, deps.settings) : undefined;
  await runUntilStopped(async () => {
    const proxy = await runRegistryProxy({ ...deps, link, handle });
    printRegistryUrls("registry proxy", deps.settings, proxy);
    return proxy;
  }, context);
}

/** `berth registry`: berth's own registry, with its proxy. Faults: SETTINGS_INVALID, those of the registry. */
export async function runRegistryProcess(context: CommandContext): Promise<void> {
  const { runRegistry } = await import("../processes/registry.ts");
  const loaded = loadSettingsAndLog(context, "registry");
  const { settings } = loaded;
  if (settings.registry.url !== undefined || settings.registry.ecrMode)
    throw new Fault(
      "SETTINGS_INVALID",
      "berth registry brings a registry, REGISTRY_URL or ECR_MODE names another: unset these, or run berth registry-proxy in front of that one.",
    );
  const deps = await processDeps(context, "registry", loaded);
  const handle = await context.parent?.handle();
  const runtime = openRuntime(context, settings);
  const link = hasControl(context, settings) ? openControlLink(context, settings) : undefined;
  await runUntilStopped(async () => {
    const registry = await runRegistry({ ...deps, runtime, link, env: context.env, handle });
    printRegistryUrls("registry", settings, registry);
    return registry;
  }, context);
}

async function processDeps(context: CommandContext, role: string, loaded = loadSettingsAndLog(context, role)) {
  const { settings, log } = loaded;
  const { metrics } = await publishProcessMetrics(context, settings, role, log);
  return { settings, log, metrics, clock: context.clock, version: VERSION };
}

function hasControl({ parent }: CommandContext, { datagrok }: Settings): boolean {
  return parent !== undefined || datagrok.url === undefined;
}

function printRegistryUrls(
  what: string,
  { registryHost, tlsCert }: Settings,
  { port, consolePort }: { port: number | undefined; consolePort: number | undefined },
): void {
  const url = (at: number) => listenerUrl({ edgeHost: registryHost, tlsCert }, at);
  if (port !== undefined) console.log(`berth ${VERSION} ${what} at ${url(port)}`);
  if (consolePort !== undefined) console.log(`console at ${url(consolePort)}`);
}
