import { checkIntegrity } from "../control/store/check-integrity.ts";
import { type Here, settingsHere } from "./command-context.ts";

/** `berth check-store`: what is wrong with the store, as a list in JSON; a process of its own, so that its caller can end it. */
export async function run(here: Here): Promise<void> {
  console.log(JSON.stringify(checkIntegrity(settingsHere(here).settings.data)));
}
