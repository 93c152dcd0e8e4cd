import { runSpawner } from "../processes/spawner.ts";
import { runUntilStopped } from "../processes/parent.ts";
import { loadSettingsAndLog, publishProcessMetrics, type CommandContext, openRuntime } from "./command-context.ts";
import { listenerUrl } from "./serve.ts";
import { VERSION } from "./version.ts";

/** `berth spawner`: in grok_spawner's place, or for a berth elsewhere; or one of the processes of `berth serve`. */
export async function run(context: CommandContext): Promise<void> {
  const { settings, log } = loadSettingsAndLog(context, "spawner");
  const { metrics } = await publishProcessMetrics(context, settings, "spawner", log);
  const handle = await context.parent?.handle();
  const runtime = context.parent === undefined ? undefined : openRuntime(context, settings);
  await runUntilStopped(async () => {
    const spawner = await runSpawner({ settings, version: VERSION, runtime, handle, clock: context.clock, log, metrics });
    if (spawner.port !== undefined)
      console.log(`berth ${VERSION} spawner at ${listenerUrl({ edgeHost: settings.spawnerHost, tlsCert: undefined }, spawner.port)}`);
    return spawner;
  }, context.parent);
}
