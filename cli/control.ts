import { consoleListenerAt } from "../processes/listener-settings.ts";
import { runControl } from "../processes/control.ts";
import { openListeningHandle } from "../processes/listening-handle.ts";
import { runUntilStopped } from "../processes/parent.ts";
import { loadSettingsAndLog, publishProcessMetrics, type CommandContext, openRuntime } from "./command-context.ts";
import { VERSION } from "./version.ts";

/** `berth control` */
export async function run(context: CommandContext): Promise<void> {
  const { settings, log } = loadSettingsAndLog(context, "control");
  const { metrics } = await publishProcessMetrics(context, settings, "control", log);
  const runtime = openRuntime(context, settings);
  await context.parent?.released();
  const at = consoleListenerAt(settings);
  const consoleHandle = at && (context.parent ? await context.parent.handle() : (await openListeningHandle(at, context.clock)).handle);
  await runUntilStopped(() => runControl({ settings, runtime, consoleHandle, version: VERSION, clock: context.clock, log, metrics }), context.parent);
}
