import { runControl } from "../roles/control.ts";
import { untilOver } from "../roles/until-told.ts";
import { begin, type Here, runtimeHere } from "./here.ts";
import { VERSION } from "./version.ts";

/** `berth control` */
export async function run(here: Here): Promise<void> {
  const { settings, log } = begin(here, "control");
  const runtime = runtimeHere(here, settings);
  await untilOver(() => runControl({ settings, runtime, version: VERSION, clock: here.clock, log }), here.parent);
}
