import { closeSync, openSync } from "node:fs";
import type { Settings } from "../conf/settings.ts";
import { type AccessLog, openAccessLog } from "../gateway/access-log.ts";
import { type Clock, onceEvery } from "../lib/clock.ts";
import { Fault } from "../lib/fault.ts";
import type { Log } from "../lib/log.ts";
import type { Metrics, Snapshot } from "../lib/metrics/open-metrics.ts";
import type { MetricsAggregator } from "../lib/metrics/serve-metrics.ts";
import type { PrivateListeners } from "../lib/refused-addresses.ts";
import { type Traces, traceSettings } from "../lib/traces/traces.ts";
import type { Parent, StoppableProcess } from "./parent.ts";

/** A sink that stays broken is logged once in this time. */
const ERROR_EVERY_MS = 60_000;

/** Whether there is a file that may be moved away. */
export function writesAccessLogFile({ accessLog }: Settings): boolean {
  return accessLog !== "off" && accessLog !== "stdout";
}

/** The configured access log. Faults: SETTINGS_INVALID for a file that cannot be written. */
export function openConfiguredAccessLog(settings: Settings, deps: { metrics: Metrics; clock: Clock; log: Log }): AccessLog | undefined {
  const { metrics, clock, log } = deps;
  const { accessLog: to, accessLogQuery: query } = settings;
  if (to === "off") return undefined;
  if (writesAccessLogFile(settings)) requireWritable(to);
  const mayLog = onceEvery(ERROR_EVERY_MS, clock);
  const opened = openAccessLog({
    to,
    query,
    dropped: metrics.accessLogDropped.at(),
    clock,
    onError: (error) => {
      if (mayLog()) log.error({ err: error }, "The access log cannot be written");
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

/** The configured exporter of traces. Without one, nothing of OpenTelemetry is loaded. */
export async function openConfiguredTraces({ traces }: Settings, program: { version: string; role: string }): Promise<Traces | undefined> {
  const settings = traceSettings(traces);
  if (settings === undefined) return undefined;
  const { openTraces } = await import("../lib/traces/open-traces.ts");
  return openTraces(settings, program);
}

type MetricsOptions = {
  role: string;
  metrics: Metrics;
  program: { version: string; commit: string };
  /** Where to serve them; undefined: nowhere. */
  at: { host: string; port: number; handle?: object | undefined } | undefined;
  /** Keeps containers from it. */
  listeners?: PrivateListeners | undefined;
  clock: Clock;
  log: Log;
};

export type PublishedMetrics = StoppableProcess & {
  /** Collects the metrics of other processes; undefined if none are served. */
  gathering: MetricsAggregator | undefined;
  port: number | undefined;
  /** The socket of their listener, where it has one of its own. */
  handle?: object | undefined;
};

/**
 * Lets what this process counts be known: to its parent, which asks all of its processes, or where there is none on a listener of its own. Where nothing is
 * to be served, nothing is loaded for it either. Faults: ADDRESS_IN_USE.
 */
export async function publishMetrics(
  { role, metrics, program, at, listeners, clock, log }: MetricsOptions,
  parent: Parent | undefined,
): Promise<PublishedMetrics> {
  if (at === undefined) return { gathering: undefined, port: undefined, close: async () => {} };
  // Costs some tens of milliseconds, and a timer that watches the event loop.
  const { openNodeMetrics, measureEventLoopDelay } = await import("../lib/metrics/process-metrics.ts");
  measureEventLoopDelay(metrics, role);
  const node = openNodeMetrics(role);
  metrics.build.at(program.version, program.commit, process.versions.node).set(1);
  metrics.processes.at(role).set(1);
  const snapshot = async (): Promise<Snapshot> => [...(await metrics.snapshot()), ...(await node.snapshot())];
  if (parent) {
    parent.onMetricsRequest(snapshot);
    return { gathering: undefined, port: undefined, close: async () => {} };
  }
  const { createMetricsAggregator, serveMetrics } = await import("../lib/metrics/serve-metrics.ts");
  const gathering = createMetricsAggregator();
  gathering.join(snapshot);
  const served = await serveMetrics(at, { gathering, listeners, refused: metrics.refusedConnections, clock, log });
  return { gathering, port: served.port, handle: served.handle, close: served.close };
}
