import { monitorEventLoopDelay } from "node:perf_hooks";
import type { Metrics, Snapshot } from "./open-metrics.ts";
import { collectDefaultMetrics, Registry } from "prom-client";

/** The loop is looked at so often: finer would wake a process that does nothing a hundred times a second. */
const EVERY_MS = 50;
const NS_PER_S = 1e9;

/**
 * Measures how late this process's event loop is: how long whatever is due waits for other work of the process. Each look begins anew. `process` is the process's role.
 */
export function measureEventLoopDelay({ eventLoopDelay }: Pick<Metrics, "eventLoopDelay">, process: string): void {
  const histogram = monitorEventLoopDelay({ resolution: EVERY_MS });
  histogram.enable();
  // Node's figures hold the interval itself.
  const seconds = (ns: number) => Math.max(0, ns / NS_PER_S - EVERY_MS / 1_000);
  eventLoopDelay.look((family) => {
    // Read again so soon that nothing was measured yet.
    const { p50, p99, max } =
      histogram.count === 0 ? { p50: 0, p99: 0, max: 0 } : { p50: histogram.percentile(50), p99: histogram.percentile(99), max: histogram.max };
    family.at(process, "p50").set(seconds(p50));
    family.at(process, "p99").set(seconds(p99));
    family.at(process, "max").set(seconds(max));
    histogram.reset();
  });
}

/** Node's own precision of 10 ms would wake a process that does nothing a hundred times a second. */
const LAG_PRECISION_MS = 50;

/** What `prom-client` tells of a Node process: CPU, memory, the event loop, garbage collection. `role` is its label `process`. */
export function openNodeMetrics(role: string): { snapshot(): Promise<Snapshot> } {
  const register = new Registry();
  collectDefaultMetrics({ register, labels: { process: role }, eventLoopMonitoringPrecision: LAG_PRECISION_MS });
  return { snapshot: async () => (await register.getMetricsAsJSON()) as unknown as Snapshot };
}
