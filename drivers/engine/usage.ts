import type { Usage } from "../driver.ts";
import type { Engine } from "./engine.ts";
import { undefinedOn } from "./faults.ts";

/** The part of the engine's statistics that berth reads: docs.docker.com/reference/api/engine, `ContainerStats`. */
type ContainerStats = {
  /** The year 1 if the container does not run. */
  read?: string;
  /** In nanoseconds. */
  cpu_stats?: { cpu_usage?: { total_usage?: number } };
  networks?: Record<string, { rx_bytes?: number; tx_bytes?: number }>;
};

/** The counters of a running container, by its id. At once, without the second that the engine would wait for a rate. */
export async function containerUsage(engine: Engine, id: string, signal: AbortSignal): Promise<Usage | undefined> {
  const stats = await undefinedOn([404, 409], () =>
    engine.call<ContainerStats>({ doing: `Reading the statistics of ${id}`, signal }, (docker, abortSignal) => {
      const options = { stream: false as const, "one-shot": true, abortSignal };
      return docker.getContainer(id).stats(options);
    }),
  );
  if (stats?.read === undefined || stats.read.startsWith("0001-")) return undefined;
  const networkBytes = Object.values(stats.networks ?? {}).reduce((sum, { rx_bytes = 0, tx_bytes = 0 }) => sum + rx_bytes + tx_bytes, 0);
  return { cpuMs: (stats.cpu_stats?.cpu_usage?.total_usage ?? 0) / 1e6, networkBytes };
}
