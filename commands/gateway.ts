import { runGateway } from "../roles/gateway.ts";
import { untilOver } from "../roles/until-told.ts";
import { begin, type Here, runtimeHere } from "./here.ts";

/** `berth gateway` */
export async function run(here: Here): Promise<void> {
  const { settings, log } = begin(here, "gateway");
  const handle = await here.parent?.handle();
  await untilOver(await runGateway({ settings, runtime: runtimeHere(here, settings), handle, clock: here.clock, log }), here.parent);
}
