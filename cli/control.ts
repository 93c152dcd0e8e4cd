import { consoleListenerAt } from "../processes/console-listener.ts";
import { runControl } from "../processes/control.ts";
import { openListeningHandle } from "../processes/listening-handle.ts";
import { untilOver } from "../processes/parent.ts";
import { begin, countHere, type Here, runtimeHere } from "./command-context.ts";
import { VERSION } from "./version.ts";

/** `berth control` */
export async function run(here: Here): Promise<void> {
  const { settings, log } = begin(here, "control");
  const { metrics } = await countHere(here, settings, "control", log);
  const runtime = runtimeHere(here, settings);
  await here.parent?.released();
  const at = consoleListenerAt(settings);
  const consoleHandle = at && (here.parent ? await here.parent.handle() : (await openListeningHandle(at, here.clock)).handle);
  await untilOver(() => runControl({ settings, runtime, consoleHandle, version: VERSION, clock: here.clock, log, metrics }), here.parent);
}
