import { cpuUs, watchRss, rssKb } from "./cost.ts";
import { PROXY_CORE, type Pinned, type Processes } from "./pinned.ts";
import type { Proxy } from "./proxies.ts";
import type { Workload } from "./workloads.ts";
import type { World } from "./world.ts";

/** One pass of one workload through one proxy. */
export type Pass = { cpuUs: number; perSecond: number; p50Us?: number; p99Us?: number; rssMb: number; grownMb: number };

/** Medians of the passes, or why there is no figure. */
export type Cell = Pass | { failed: string };

/** A proxy that runs; `direct` is the way without any. */
export type Runner = { name: string; proxy: Proxy | undefined; port: number; pinned: Pinned | undefined };

export async function startProxy(proxy: Proxy, world: World, port: number, processes: Processes): Promise<Runner> {
  const pinned = await processes.serve(proxy.name, PROXY_CORE, proxy.command(world, port), port);
  return { name: proxy.name, proxy, port, pinned };
}

export async function measure(runner: Runner, workload: Workload, at: { world: World; seconds: number; processes: Processes }): Promise<Pass> {
  const { world, seconds, processes } = at;
  const { pinned, proxy } = runner;
  const direct = proxy === undefined;
  const apart = workload.stream && proxy?.streamsApart ? 1 : 0;
  const command = workload.load({ world, port: runner.port + apart, direct, seconds });
  const pid = pinned?.pid;
  const rssBefore = pid === undefined ? 0 : rssKb(pid);
  const watch = pid === undefined ? undefined : watchRss(pid);
  const before = pid === undefined ? 0 : cpuUs(pid);
  let output: string;
  try {
    output = await processes.run(`${workload.name} ${runner.name}`, command, seconds * 1_000 + 60_000);
  } finally {
    watch?.stop();
  }
  const spent = pid === undefined ? 0 : cpuUs(pid) - before;
  const rss = watch?.stop() ?? 0;
  if (pinned?.ended()) throw new Error(`it ended: ${pinned.output().slice(-300)}`);
  const found = workload.read(output);
  return {
    cpuUs: spent / found.count,
    perSecond: found.count / found.seconds,
    ...(found.p50Us === undefined ? {} : { p50Us: found.p50Us }),
    ...(found.p99Us === undefined ? {} : { p99Us: found.p99Us }),
    rssMb: rss / 1_024,
    grownMb: (rss - rssBefore) / 1_024,
  };
}

export function medians(passes: Pass[]): Pass {
  const of = (pick: (pass: Pass) => number | undefined) => median(passes.map(pick).filter((value) => value !== undefined));
  const [p50Us, p99Us] = [of((pass) => pass.p50Us), of((pass) => pass.p99Us)];
  return {
    cpuUs: of((pass) => pass.cpuUs) ?? 0,
    perSecond: of((pass) => pass.perSecond) ?? 0,
    ...(p50Us === undefined ? {} : { p50Us }),
    ...(p99Us === undefined ? {} : { p99Us }),
    rssMb: Math.max(...passes.map((pass) => pass.rssMb)),
    grownMb: Math.max(...passes.map((pass) => pass.grownMb)),
  };
}

function median(values: number[]): number | undefined {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];
}
