import type { Settings } from "../conf/settings.ts";
import { traceSettings } from "../lib/traces/settings.ts";
import type { Traces } from "../lib/traces/traces.ts";

/** What sends traces where the settings wish that; where they do not, nothing of OpenTelemetry is loaded. */
export async function openTracesOf({ traces }: Settings, program: { version: string; role: string }): Promise<Traces | undefined> {
  const settings = traceSettings(traces);
  if (settings === undefined) return undefined;
  const { openTraces } = await import("../lib/traces/open-traces.ts");
  return openTraces(settings, program);
}
