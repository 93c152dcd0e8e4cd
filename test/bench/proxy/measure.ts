import { cpuUs, rssKb, watchRss } from "./cost.ts";
import { PROXY_CORE, type Cores, type Pinned, type Processes } from "./pinned.ts";
import type { Proxy } from "./proxies.ts";
import type { Workload } from "./workloads.ts";
import { freePort, type BenchWorld } from "./world.ts";

/** One pass of one workload through one proxy. */
export type BenchPass = { cpuUs: number; perSecond: number; p50Us?: number; p99Us?: number; rssMb: number; grownMb: number };

/** Medians of the passes, with each of them; or why there is no figure. */
export type Cell = (BenchPass & { passes: readonly BenchPass[] }) | { failed: string };

/** A proxy that runs; without one, the way from load to container directly. */
export type Runner = { name: string; proxy?: Proxy; port: number; pinned?: Pinned };

/** `loadCores`: by default, the core that proxies do not have. `wakeRequests`: a load that is not counted, and has so many, comes before one that is. */
export type At = { world: BenchWorld; seconds: number; streamMb: number; processes: Processes; loadCores?: Cores; wakeRequests?: number };

/** Longer, and the first connections of a load expire before its end. */
const MOST_WAKE_SECONDS = 4;

/** Time beyond the set duration of a load. */
const SLACK_MS = 30_000;

export async function startProxy(proxy: Proxy, world: BenchWorld, processes: Processes, cores: Cores = PROXY_CORE): Promise<Runner> {
  const port = await freePort();
  const pinned = await processes.serve(proxy.name, cores, proxy.command(world, port), port);
  return { name: proxy.name, proxy, port, pinned };
}

/** Throws where anything went wrong. */
export async function measure(runner: Runner, workload: Workload, at: At): Promise<BenchPass> {
  // Who slept while others had their turn has lost its caches, perhaps its memory, and its code to the garbage collector: that is no request's cost.
  if (workload.wakesFirst) await wake(runner, workload, at);
  if (!workload.fresh || runner.proxy === undefined) return pass(runner, workload, at);
  const fresh = await startProxy(runner.proxy, at.world, at.processes);
  try {
    return await pass(fresh, workload, at);
  } finally {
    await fresh.pinned?.stop();
  }
}

/** Each load begins with the first key and container, so several short ones never come to the last of them. */
async function wake(runner: Runner, workload: Workload, { wakeRequests = 1, ...at }: At): Promise<void> {
  for (let requests = 0, seconds = 1; requests < wakeRequests && seconds <= MOST_WAKE_SECONDS; seconds++) {
    requests = (await pass(runner, workload, { ...at, seconds })).perSecond * seconds;
  }
}

async function pass(runner: Runner, workload: Workload, { world, seconds, streamMb, processes, loadCores }: At): Promise<BenchPass> {
  const { pinned, proxy, name } = runner;
  const pid = pinned?.pid;
  const port =
    proxy === undefined ? (workload.to === "fixed" ? world.fixedPort : world.rawPort) : runner.port + (workload.stream && proxy.streamsApart ? 1 : 0);
  const command = workload.load({ world, port, pid, seconds, streamMb });
  const watch = pid === undefined ? undefined : watchRss(pid);
  const [rssBefore, cpuBefore] = pid === undefined ? [0, 0] : [rssKb(pid), cpuUs(pid)];
  let most = 0;
  let output: string;
  try {
    output = await processes.run(`${workload.name} ${name}`, command, seconds * 1_000 + SLACK_MS, loadCores);
  } finally {
    most = watch?.stop() ?? 0;
  }
  const spent = pid === undefined ? 0 : cpuUs(pid) - cpuBefore;
  if (pinned?.ended()) throw new Error(`it ended: ${pinned.output().slice(-300)}`);
  const result = workload.read(output);
  return {
    cpuUs: (result.cpuUs ?? spent) / result.count,
    perSecond: result.count / result.seconds,
    ...(result.p50Us === undefined ? {} : { p50Us: result.p50Us }),
    ...(result.p99Us === undefined ? {} : { p99Us: result.p99Us }),
    rssMb: most / 1_024,
    grownMb: (most - rssBefore) / 1_024,
  };
}

export function medians(passes: BenchPass[]): Exclude<Cell, { failed: string }> {
  const of = (pick: (pass: BenchPass) => number | undefined) => median(passes.map(pick).filter((value) => value !== undefined));
  const [p50Us, p99Us] = [of((one) => one.p50Us), of((one) => one.p99Us)];
  return {
    cpuUs: of((one) => one.cpuUs) ?? 0,
    perSecond: of((one) => one.perSecond) ?? 0,
    ...(p50Us === undefined ? {} : { p50Us }),
    ...(p99Us === undefined ? {} : { p99Us }),
    rssMb: Math.max(...passes.map((one) => one.rssMb)),
    grownMb: Math.max(...passes.map((one) => one.grownMb)),
    passes,
  };
}

export function median(values: number[]): number | undefined {
  const sorted = values.toSorted((a, b) => a - b);
  const [below, above] = [sorted[Math.floor((sorted.length - 1) / 2)], sorted[Math.floor(sorted.length / 2)]];
  return below === undefined || above === undefined ? undefined : (below + above) / 2;
}
