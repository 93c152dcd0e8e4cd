import type { Clock } from "../lib/clock.ts";
import type { PrivateListeners } from "../lib/container-peers.ts";
import type { Log } from "../lib/log.ts";
import type { MetricsAggregator } from "../lib/metrics/gather.ts";
import type { Metrics } from "../lib/metrics/open-metrics.ts";
import type { Snapshot } from "../lib/metrics/snapshot.ts";
import type { Parent, StoppableProcess } from "./parent.ts";

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
  /** Where others of this berth are put to it; undefined where nobody asks. */
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
  const [{ openNodeMetrics }, { measureEventLoopDelay }] = await Promise.all([
    import("../lib/metrics/node-metrics.ts"),
    import("../lib/metrics/event-loop-delay.ts"),
  ]);
  measureEventLoopDelay(metrics, role);
  const node = openNodeMetrics(role);
  metrics.build.at(program.version, program.commit, process.versions.node).set(1);
  metrics.processes.at(role).set(1);
  const snapshot = async (): Promise<Snapshot> => [...metrics.snapshot(), ...(await node.snapshot())];
  if (parent) {
    parent.onMetricsRequest(snapshot);
    return { gathering: undefined, port: undefined, close: async () => {} };
  }
  const [{ createMetricsAggregator }, { serveMetrics }] = await Promise.all([
    import("../lib/metrics/gather.ts"),
    import("../lib/metrics/serve-metrics.ts"),
  ]);
  const gathering = createMetricsAggregator();
  gathering.join(snapshot);
  const served = await serveMetrics(at, { gathering, listeners, refused: metrics.refusedConnections, clock, log });
  return { gathering, port: served.port, handle: served.handle, close: served.close };
}
