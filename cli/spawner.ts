import { runSpawner } from "../processes/spawner.ts";
import { untilOver } from "../processes/parent.ts";
import { begin, countHere, type Here, runtimeHere } from "./command-context.ts";
import { addressOf } from "./serve.ts";
import { VERSION } from "./version.ts";

/** `berth spawner`: in grok_spawner's place, or for a berth elsewhere; or one of the processes of `berth serve`. */
export async function run(here: Here): Promise<void> {
  const { settings, log } = begin(here, "spawner");
  const { metrics } = await countHere(here, settings, "spawner", log);
  const handle = await here.parent?.handle();
  const runtime = here.parent === undefined ? undefined : runtimeHere(here, settings);
  await untilOver(async () => {
    const spawner = await runSpawner({ settings, version: VERSION, runtime, handle, clock: here.clock, log, metrics });
    if (spawner.port !== undefined)
      console.log(`berth ${VERSION} spawner at ${addressOf({ edgeHost: settings.spawnerHost, tlsCert: undefined }, spawner.port)}`);
    return spawner;
  }, here.parent);
}
