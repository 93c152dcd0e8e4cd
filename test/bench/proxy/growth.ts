import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { fixedUpstream } from "./nginx.ts";
import { measure, medians, startProxy, type At, type BenchPass, type Cell, type Runner } from "./measure.ts";
import { LOAD_CORE } from "./pinned.ts";
import type { Proxy } from "./proxies.ts";
import { smallGet } from "./workloads.ts";
import { freePort, makeWorld, USUAL_SIZE, type WorldSize } from "./world.ts";

/** Cost of a small GET as one thing grows: a row for each size, a cell for each proxy. */
export type GrowthAxis = { name: string; rows: { size: number; cells: Map<string, Cell> }[] };

type Point = { size: WorldSize; headerBytes: number };

/** All containers answer from one nginx. */
const sized = (keys: number, containers: number): WorldSize => ({ keys, containers, fixed: containers });

const AXES: readonly { name: string; sizes: readonly number[]; at(size: number): Point }[] = [
  { name: "containers", sizes: [10, 100, 1_000, 10_000], at: (size) => ({ size: sized(USUAL_SIZE.keys, size), headerBytes: 0 }) },
  { name: "callers", sizes: [10, 100, 1_000, 10_000, 100_000], at: (size) => ({ size: sized(size, 100), headerBytes: 0 }) },
  { name: "bytes of further headers", sizes: [0, 512, 2_048, 8_192], at: (size) => ({ size: sized(100, 100), headerBytes: size }) },
];

/** Code is compiled. */
const WARM_SECONDS = 3;

export async function measureGrowth(proxies: readonly Proxy[], at: At, passes: number, report: (axis: GrowthAxis) => void): Promise<GrowthAxis[]> {
  const axes: GrowthAxis[] = [];
  for (const { name, sizes, at: pointAt } of AXES) {
    const axis: GrowthAxis = { name, rows: [] };
    for (const size of sizes) {
      const folder = join(at.world.folder, `${name.split(" ")[0]}-${size}`);
      axis.rows.push({ size, cells: await measurePoint(folder, pointAt(size), proxies, at, passes) });
    }
    axes.push(axis);
    report(axis);
  }
  return axes;
}

/** In a world of its own, which ends with it. */
async function measurePoint(
  folder: string,
  point: Point,
  proxies: readonly Proxy[],
  { processes, ...at }: At,
  passes: number,
): Promise<Map<string, Cell>> {
  mkdirSync(folder);
  const world = makeWorld(folder, { fixedPort: await freePort(), rawPort: 1 }, point.size);
  const upstream = await processes.serve("upstream", LOAD_CORE, fixedUpstream(world), world.fixedPort);
  const control = processes.start("control", LOAD_CORE, { argv: [process.execPath, join(import.meta.dirname, "control-process.ts"), folder] });
  const workload = smallGet(point.headerBytes);
  // Before each pass every key and container is used: since the last one, caches and connections have expired.
  const wakeRequests = Math.max(point.size.keys, point.size.containers);
  const here = { ...at, processes, world, wakeRequests };
  const runners: Runner[] = [];
  try {
    for (const proxy of proxies) {
      const runner = await startProxy(proxy, world, processes);
      runners.push(runner);
      await measure(runner, workload, { ...here, seconds: WARM_SECONDS }).catch(() => undefined);
    }
    const measured = new Map(runners.map(({ name }) => [name, [] as (BenchPass | { failed: string })[]]));
    for (let pass = 0; pass < passes; pass++)
      for (const runner of runners)
        measured.get(runner.name)?.push(await measure(runner, workload, here).catch((error: Error) => ({ failed: error.message })));
    return new Map([...measured].map(([name, all]): [string, Cell] => [name, cellOf(all)]));
  } finally {
    for (const { pinned } of runners) await pinned?.stop();
    await control.stop();
    await upstream.stop();
  }
}

function cellOf(all: readonly (BenchPass | { failed: string })[]): Cell {
  const passes: BenchPass[] = [];
  for (const one of all) {
    if ("failed" in one) return one;
    passes.push(one);
  }
  return medians(passes);
}
