import { runControl } from "../roles/control.ts";
import { untilOver } from "../roles/until-told.ts";
import { begin, countHere, type Here, runtimeHere } from "./here.ts";
import { VERSION } from "./version.ts";

/** `berth control` */
export async function run(here: Here): Promise<void> {
  const { settings, log } = begin(here, "control");
  const { metrics } = await countHere(here, settings, "control", log);
  const runtime = runtimeHere(here, settings);
  await here.parent?.released();
  await untilOver(() => runControl({ settings, runtime, version: VERSION, clock: here.clock, log, metrics }), here.parent);
}
