import { collectDefaultMetrics, Registry } from "prom-client";
import type { Snapshot } from "./snapshot.ts";

/** Node's own precision of 10 ms would wake a process that does nothing a hundred times a second. */
const LAG_PRECISION_MS = 50;

/** What `prom-client` tells of a Node process: CPU, memory, the event loop, garbage collection. `role` is its label `process`. */
export function openNodeMetrics(role: string): { snapshot(): Promise<Snapshot> } {
  const register = new Registry();
  collectDefaultMetrics({ register, labels: { process: role }, eventLoopMonitoringPrecision: LAG_PRECISION_MS });
  return { snapshot: async () => (await register.getMetricsAsJSON()) as unknown as Snapshot };
}
