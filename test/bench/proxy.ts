/**
 * What a request costs at berth's edge and at its peers, in one run on one machine: `npm run bench:proxy -- --help`. The proxy under test
 * has one core to itself, load and upstream share the other; each workload goes through each proxy in turn, pass by pass, so that what else
 * happens on the machine meets all alike. Cost is processor time, user and system, of all the proxy's processes.
 */
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { availableParallelism, loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { wrongs } from "./proxy/check.ts";
import { measureGrowth } from "./proxy/growth.ts";
import { IDLE_ROWS, measureIdle } from "./proxy/idle.ts";
import { installPeers } from "./proxy/install-peers.ts";
import { measure, measureEach, measureInTurns, medians, startProxy, type At, type Cell, type BenchPass, type Runner } from "./proxy/measure.ts";
import { fixedUpstream } from "./proxy/nginx.ts";
import { readOptions } from "./proxy/options.ts";
import { LOAD_CORE, openPinned } from "./proxy/pinned.ts";
import { figuresPage } from "./proxy/page.ts";
import { figuresPicture } from "./proxy/picture.ts";
import { printGrowth, printIdle, printServe, printTargets, printWorkload } from "./proxy/print.ts";
import { growingProxies, isBerth, missingTools, proxies, workersOf, type Proxy } from "./proxy/proxies.ts";
import { openResults, type Results } from "./proxy/results.ts";
import { measureServe } from "./proxy/serve-memory.ts";
import { measureWorkers } from "./proxy/workers.ts";
import { smallGet, WORKLOADS, type Workload } from "./proxy/workloads.ts";
import { freePort, makeWorld, USUAL_SIZE, type BenchWorld } from "./proxy/world.ts";

/** Whatever hangs, nothing of this is left running after that. */
const AT_MOST_MS = 120 * 60_000;

const WARM_REQUESTS = 150_000;
const WARM_SECONDS = 6;
/** Processes that wanted a core in the minute before; above it, others' work is in the figures. */
const BUSY = 0.7;

const options = readOptions(process.argv.slice(2));
const lacking = missingTools();
if (lacking.length > 0 || availableParallelism() < 2) {
  console.error(`This cannot run here: ${[...lacking, ...(availableParallelism() < 2 ? ["it takes two cores"] : [])].join("; ")}`);
  process.exit(1);
}
const folder = mkdtempSync(join(tmpdir(), "berth-bench-proxy-"));
const processes = openPinned(folder);
for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => void end(130));
setTimeout(() => void end(1), AT_MOST_MS).unref();

try {
  await run();
  await end(0);
} catch (error) {
  console.error(error);
  await end(1);
}

async function run(): Promise<void> {
  // This process looks at clocks and counters all the time: not on the core of who is measured.
  spawnSync("taskset", ["-cp", LOAD_CORE, String(process.pid)]);
  const [load = 0] = loadavg();
  if (load > BUSY) console.log(`This machine is busy (load ${load.toFixed(1)}): only ratios mean anything, and they not much`);
  const world = makeWorld(folder, { fixedPort: await freePort(), rawPort: await freePort() }, USUAL_SIZE);
  await startContainers(world);
  installPeers();
  const at: At = { world, seconds: options.seconds, streamMb: options.streamMb, processes };
  const results = openResults();
  const runners = await startProxies(at, results.left);
  for (const [name, why] of results.left) console.log(`${name} is left out: ${why}`);

  for (const workload of WORKLOADS.filter(({ name }) => named(options.workloads, name))) {
    const cells = await measureAll(workload, runners, at);
    results.cells.set(workload.name, cells);
    printWorkload(workload, cells);
  }
  if (named(options.workloads, "idle")) {
    for (const { proxy } of runners) if (proxy !== undefined && proxy.only === undefined) results.idle.push(await measureIdle(proxy, at));
    printIdle(IDLE_ROWS, results.idle);
  }
  // Whatever comes now has the cores for itself.
  for (const { pinned } of runners) await pinned?.stop();
  const chosen = (all: readonly Proxy[]) => all.filter(({ name, missing }) => named(options.only, name) && missing?.() === undefined);
  if (named(options.workloads, "serve")) printServe((results.serve = await measureServe(options.berth)));
  if (named(options.workloads, "growth"))
    results.growth.push(...(await measureGrowth(chosen(growingProxies(options)), at, options.passes, printGrowth)));
  if (named(options.workloads, "workers")) {
    const all = workersOf(options).filter(({ name }) => named(options.only, name.replace(/, \d workers?$/, "")));
    results.workers = await measureWorkers(all, at, options.passes);
    printWorkload({ ...smallGet(0), says: "one worker and two, on both cores, with the load" }, results.workers);
  }
  printTargets(results, runners.map(({ name }) => name).filter(isBerth));
  if (options.write) writeFigures(results, load);
}

function writeFigures(results: Results, load: number): void {
  const root = join(import.meta.dirname, "../..");
  const page = join(root, "docs/reference/figures.md");
  writeFileSync(page, figuresPage(results, WORKLOADS, options, load));
  writeFileSync(join(root, "docs/reference/figures.svg"), figuresPicture(results, WORKLOADS));
  // Aligns the tables.
  spawnSync(join(root, "node_modules/.bin/oxfmt"), ["--write", page], { cwd: root, stdio: "inherit" });
}

async function startContainers(world: BenchWorld): Promise<void> {
  const script = (name: string) => join(import.meta.dirname, "proxy", name);
  await processes.serve("upstream nginx", LOAD_CORE, fixedUpstream(world), world.fixedPort);
  await processes.serve("upstream raw", LOAD_CORE, { argv: [process.execPath, script("upstream.ts"), String(world.rawPort)] }, world.rawPort);
  processes.start("control", LOAD_CORE, { argv: [process.execPath, script("control-process.ts"), folder] });
}

/** Starts what is there and does the work, and says why the others are left out. */
async function startProxies(at: At, left: Map<string, string>): Promise<Runner[]> {
  const runners: Runner[] = named(options.only, "direct") ? [{ name: "direct", port: 0 }] : [];
  const isWanted = ({ name, only }: Proxy) => named(options.only, name) && (only?.some((workload) => named(options.workloads, workload)) ?? true);
  for (const proxy of proxies(options).filter(isWanted)) {
    const why = proxy.missing?.() ?? (await startOne(proxy, at, runners).catch((error: unknown) => (error as Error).message));
    if (why !== undefined) left.set(proxy.name, why);
  }
  return runners;
}

async function startOne(proxy: Proxy, at: At, runners: Runner[]): Promise<string | undefined> {
  const runner = await startProxy(proxy, at.world, processes);
  // What does only WebSockets or HTTP/2 is checked by its own load.
  if (proxy.only === undefined || proxy.only.includes("get")) {
    const wrong = await wrongs(at.world, runner.port, { noKeys: proxy.noKeys === true });
    if (wrong.length > 0) return `it does not do the work: ${wrong.join("; ")}\n${runner.pinned?.output().slice(-1_000)}`;
  }
  await warmUp(runner, at);
  runners.push(runner);
  return undefined;
}

/** Slow ones need longer to see as many requests, after which their code is compiled as well as it gets. */
async function warmUp(runner: Runner, at: At): Promise<void> {
  const warming = WORKLOADS.find(({ name }) => runner.proxy?.only?.includes(name) ?? true);
  if (warming === undefined) return;
  let requests = 0;
  for (let second = 0; requests < WARM_REQUESTS && second < WARM_SECONDS; second++) {
    requests += (await measure(runner, warming, { ...at, seconds: 1 })).perSecond;
  }
  if (requests < WARM_REQUESTS / 4) console.log(`${runner.name} has seen only ${requests.toFixed(0)} requests before it is measured`);
}

async function measureAll(workload: Workload, runners: Runner[], at: At): Promise<Map<string, Cell>> {
  const does = ({ proxy, name }: Runner) =>
    workload.named || proxy?.only !== undefined ? proxy?.only?.includes(workload.name) : !workload.berthOnly || isBerth(name);
  const can = runners.filter(does);
  const passes = new Map<string, BenchPass[]>(can.map(({ name }) => [name, []]));
  const failed = new Map<string, string>();
  for (let pass = 0; pass < options.passes; pass++) {
    const left = can.filter(({ name }) => !failed.has(name));
    for (const runner of left)
      if (runner.pinned?.ended()) await startAgain(runner, at).catch((error: unknown) => failed.set(runner.name, (error as Error).message));
    for (const [name, got] of await (workload.takesTurns ? measureInTurns : measureEach)(
      left.filter(({ name }) => !failed.has(name)),
      workload,
      at,
    )) {
      if (got instanceof Error) failed.set(name, got.message);
      else passes.get(name)?.push(...got);
    }
  }
  return new Map([...passes].map(([name, got]): [string, Cell] => [name, failed.has(name) ? { failed: failed.get(name) ?? "" } : medians(got)]));
}

/** Some end when a client of the workload before breaks off. */
async function startAgain(runner: Runner, at: At): Promise<void> {
  if (runner.proxy === undefined) return;
  console.log(`${runner.name} had ended and is started again:\n${runner.pinned?.output().slice(-500)}`);
  Object.assign(runner, await startProxy(runner.proxy, at.world, processes));
}

function named(names: string[] | undefined, name: string): boolean {
  return names === undefined || names.includes(name) || names.includes(name.replaceAll(/,? /g, "-"));
}

async function end(code: number): Promise<void> {
  await processes.stopAll();
  rmSync(folder, { recursive: true, force: true });
  process.exit(code);
}
