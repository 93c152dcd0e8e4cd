import { runGateway } from "../roles/gateway.ts";
import { untilOver } from "../roles/until-told.ts";
import { VERSION } from "./version.ts";
import { begin, countHere, type Here, runtimeHere } from "./here.ts";

/** `berth gateway` */
export async function run(here: Here): Promise<void> {
  const { settings, log } = begin(here, "gateway");
  const { metrics } = await countHere(here, settings, "gateway", log);
  const runtime = runtimeHere(here, settings);
  const handle = await here.parent?.handle();
  await untilOver(() => runGateway({ settings, runtime, handle, clock: here.clock, log, metrics, version: VERSION }), here.parent);
}
