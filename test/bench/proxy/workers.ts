import { measure, medians, startProxy, type At, type BenchPass, type Cell, type Runner } from "./measure.ts";
import { BOTH_CORES } from "./pinned.ts";
import type { Proxy } from "./proxies.ts";
import { smallGet } from "./workloads.ts";

const WARM_SECONDS = 8;

/**
 * A small GET through one worker and two, where proxy, load and containers share both cores. Only one proxy runs at a time: an idle one costs nothing,
 * but its memory is in the caches.
 */
export async function measureWorkers(proxies: readonly Proxy[], at: At, passes: number): Promise<Map<string, Cell>> {
  const workload = smallGet(0);
  const onBoth: At = { ...at, loadCores: BOTH_CORES };
  const runners: Runner[] = [];
  for (const proxy of proxies) {
    if (proxy.missing?.() !== undefined) continue;
    const runner = await startProxy(proxy, at.world, at.processes, BOTH_CORES);
    runners.push(runner);
    await measure(runner, workload, { ...onBoth, seconds: WARM_SECONDS });
  }
  const measured = new Map(runners.map(({ name }) => [name, [] as BenchPass[]]));
  for (let pass = 0; pass < passes; pass++) for (const runner of runners) measured.get(runner.name)?.push(await measure(runner, workload, onBoth));
  for (const { pinned } of runners) await pinned?.stop();
  return new Map([...measured].map(([name, all]): [string, Cell] => [name, medians(all)]));
}
