import { printSettings } from "../conf/print-settings.ts";
import { type Here, settingsHere } from "./here.ts";

/** `berth config` */
export async function run(here: Here): Promise<void> {
  process.stdout.write(printSettings(settingsHere(here)));
}
