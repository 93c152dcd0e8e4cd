import { closeSync, openSync } from "node:fs";
import type { Clock } from "../lib/clock.ts";
import type { Settings } from "../conf/settings.ts";
import { Fault } from "../lib/fault.ts";
import { type AccessLog, openAccessLog } from "../gateway/access-log.ts";
import type { Log } from "../lib/log.ts";
import type { Metrics } from "../lib/metrics/open-metrics.ts";
import { traceSettings } from "../lib/traces/settings.ts";
import type { Traces } from "../lib/traces/traces.ts";

/** Of a sink that stays broken nobody wants to hear with each line. */
const ERROR_EVERY_MS = 60_000;

/** Whether there is a file that may be moved away. */
export function writesAccessLogFile({ accessLog }: Settings): boolean {
  return accessLog !== "off" && accessLog !== "stdout";
}

/** The access log that the settings wish. Faults: SETTINGS_INVALID for a file that cannot be written. */
export function openConfiguredAccessLog(settings: Settings, deps: { metrics: Metrics; clock: Clock; log: Log }): AccessLog | undefined {
  const { metrics, clock, log } = deps;
  const { accessLog: to, accessLogQuery: query } = settings;
  if (to === "off") return undefined;
  if (writesAccessLogFile(settings)) requireWritable(to);
  let reportedAt = Number.NEGATIVE_INFINITY;
  const opened = openAccessLog({
    to,
    query,
    dropped: metrics.accessLogDropped.at(),
    clock,
    onError: (error) => {
      if (clock.monotonic() - reportedAt < ERROR_EVERY_MS) return;
      reportedAt = clock.monotonic();
      log.error({ err: error }, "The access log cannot be written");
    },
  });
  if (writesAccessLogFile(settings)) process.on("SIGHUP", opened.reopen);
  return opened;
}

function requireWritable(path: string): void {
  try {
    closeSync(openSync(path, "a", 0o640));
  } catch (cause) {
    throw new Fault("SETTINGS_INVALID", `BERTH_ACCESS_LOG cannot be written at ${path}: ${(cause as Error).message}.`, { cause });
  }
}

/** What sends traces where the settings wish that; where they do not, nothing of OpenTelemetry is loaded. */
export async function openConfiguredTraces({ traces }: Settings, program: { version: string; role: string }): Promise<Traces | undefined> {
  const settings = traceSettings(traces);
  if (settings === undefined) return undefined;
  const { openTraces } = await import("../lib/traces/open-traces.ts");
  return openTraces(settings, program);
}
