import { setTimeout as sleep } from "node:timers/promises";
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

/** `loadCores`: by default, the core that proxies do not have. `wakeRequests`: in place of the workload's. */
export type At = { world: BenchWorld; seconds: number; streamMb: number; processes: Processes; loadCores?: Cores; wakeRequests?: number };

/** Longer, and the first connections of a load expire before its end. */
const MOST_WAKE_SECONDS = 4;

/** Long enough that the processor's caches, lost to others meanwhile, cost little. */
const TURN_MS = 300;
const TURNS = 8;
/** Before those that count: connections are opened, and caches and compiled code come back. */
const WARM_TURNS = 3;
/** Until the last answers of a turn have passed. */
const SETTLE_MS = 30;
/** Whose turns follow one another: the more there are, the less of each is left in the processor's caches when its turn comes again. */
const MOST_IN_TURNS = 8;

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
  if (workload.wakeRequests !== undefined) await wake(runner, workload, { wakeRequests: workload.wakeRequests, ...at });
  if (!workload.fresh || runner.proxy === undefined) return pass(runner, workload, at);
  const fresh = await startProxy(runner.proxy, at.world, at.processes);
  try {
    return await pass(fresh, workload, at);
  } finally {
    await fresh.pinned?.stop();
  }
}

/** Each load begins with the first key and container, so several short ones never come to the last of them. */
async function wake(runner: Runner, workload: Workload, { wakeRequests, ...at }: At & { wakeRequests: number }): Promise<void> {
  for (let requests = 0, seconds = 1; requests < wakeRequests && seconds <= MOST_WAKE_SECONDS; seconds++) {
    requests = (await pass(runner, workload, { ...at, seconds })).perSecond * seconds;
  }
}

async function pass(runner: Runner, workload: Workload, at: At): Promise<BenchPass> {
  const {
    count,
    seconds,
    cpuUs: spentUs,
    ...rest
  } = await endLoad(beginLoad(runner, workload, at, at.seconds), workload, at, at.seconds * 1_000 + SLACK_MS);
  return { ...rest, cpuUs: spentUs / count, perSecond: count / seconds };
}

/** A pass of one proxy after another. */
export async function measureEach(runners: readonly Runner[], workload: Workload, at: At): Promise<Map<string, BenchPass[] | Error>> {
  const measured = new Map<string, BenchPass[] | Error>();
  for (const runner of runners)
    measured.set(
      runner.name,
      await measure(runner, workload, at).then(
        (one) => [one],
        (error: unknown) => error as Error,
      ),
    );
  return measured;
}

/**
 * Several proxies in turns, each of which is a pass. A load keeps its connections and runs for a part of a second, then the next has its turn: whatever
 * else happens on the machine meets all alike, which seconds one after another do not ensure. The containers count what was answered in a turn. Times of
 * answers, and answers per second, are those of a load without turns before them.
 */
export async function measureInTurns(runners: readonly Runner[], workload: Workload, at: At): Promise<Map<string, BenchPass[] | Error>> {
  const groups = Array.from({ length: Math.ceil(runners.length / MOST_IN_TURNS) }, (_, at) =>
    runners.slice(at * MOST_IN_TURNS, (at + 1) * MOST_IN_TURNS),
  );
  const measured: [string, BenchPass[] | Error][] = [];
  for (const group of groups) measured.push(...(await measureGroup(group, workload, at)));
  return new Map(measured);
}

async function measureGroup(runners: readonly Runner[], workload: Workload, at: At): Promise<Map<string, BenchPass[] | Error>> {
  const measured = new Map<string, BenchPass[] | Error>();
  const loads: { alone: BenchPass; load: RunningLoad; costsUs: number[] }[] = [];
  const orFail = async ({ name }: Runner, step: () => Promise<void>) => {
    await step().catch((error: unknown) => measured.set(name, error as Error));
  };
  for (const runner of runners) {
    await orFail(runner, async () => {
      const alone = await pass(runner, workload, at);
      if (runner.pinned === undefined) measured.set(runner.name, [alone]);
      else loads.push({ alone, load: startStopped(runner, workload, at), costsUs: [] });
    });
  }
  const port = workload.to === "fixed" ? at.world.fixedPort : at.world.rawPort;
  for (let turn = -WARM_TURNS; turn < TURNS; turn++) {
    for (const { load, costsUs } of loads) {
      const costUs = await costOfTurn(load, port);
      if (turn >= 0) costsUs.push(costUs);
    }
  }
  for (const { alone, load, costsUs } of loads) {
    await orFail(load.runner, async () => {
      // In this order: of a process that is stopped any thread may take the interrupt, and wrk's main thread would sleep on.
      load.pinned.signal("SIGCONT");
      load.pinned.signal("SIGINT");
      const { rssMb, grownMb } = await endLoad(load, workload, at, SLACK_MS);
      if (!costsUs.every(Number.isFinite)) throw new Error("no answer came in one of its turns");
      const passes = costsUs.map((cost) => ({ ...alone, rssMb, grownMb, cpuUs: cost }));
      measured.set(load.runner.name, passes);
    });
  }
  return measured;
}

function startStopped(runner: Runner, workload: Workload, at: At): RunningLoad {
  const load = beginLoad(runner, workload, at, "endless");
  load.pinned.signal("SIGSTOP");
  return load;
}

/** Microseconds of processor time for each answer, also of those that were under way when the load was stopped. */
async function costOfTurn({ pinned, runner }: RunningLoad, port: number): Promise<number> {
  const pid = runner.pinned?.pid ?? 0;
  const [answered, spent] = [await answers(port), cpuUs(pid)];
  pinned.signal("SIGCONT");
  await sleep(TURN_MS);
  pinned.signal("SIGSTOP");
  await sleep(SETTLE_MS);
  return (cpuUs(pid) - spent) / ((await answers(port)) - answered);
}

/** How many answers the containers behind a port have given. nginx ends its line with the count of all requests, this one included (stub_status). */
async function answers(port: number): Promise<number> {
  const text = await (await fetch(`http://127.0.0.1:${port}/answers`, { signal: AbortSignal.timeout(SLACK_MS) })).text();
  return Number(/(\d+)\s*(?:Reading.*)?$/s.exec(text)?.[1]);
}

type RunningLoad = { runner: Runner; pinned: Pinned; watch: { stop(): number } | undefined; rssBefore: number; cpuBefore: number };

function beginLoad(runner: Runner, workload: Workload, { world, streamMb, processes, loadCores }: At, seconds: number | "endless"): RunningLoad {
  const { pinned, proxy, name } = runner;
  const pid = pinned?.pid;
  const port =
    proxy === undefined ? (workload.to === "fixed" ? world.fixedPort : world.rawPort) : runner.port + (workload.stream && proxy.streamsApart ? 1 : 0);
  const command = workload.load({ world, port, pid, seconds, streamMb });
  const watch = pid === undefined ? undefined : watchRss(pid);
  const [rssBefore, cpuBefore] = pid === undefined ? [0, 0] : [rssKb(pid), cpuUs(pid)];
  return { runner, pinned: processes.startLoad(`${workload.name} ${name}`, command, loadCores), watch, rssBefore, cpuBefore };
}

async function endLoad({ runner, watch, rssBefore, cpuBefore, ...load }: RunningLoad, workload: Workload, { processes }: At, withinMs: number) {
  const { pinned } = runner;
  let most = 0;
  let output: string;
  try {
    output = await processes.outputOf(load.pinned, withinMs);
  } finally {
    most = watch?.stop() ?? 0;
  }
  const spent = pinned === undefined ? 0 : cpuUs(pinned.pid) - cpuBefore;
  if (pinned?.ended()) throw new Error(`it ended: ${pinned.output().slice(-300)}`);
  const result = workload.read(output);
  return { ...result, cpuUs: result.cpuUs ?? spent, rssMb: most / 1_024, grownMb: (most - rssBefore) / 1_024 };
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
