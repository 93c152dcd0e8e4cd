/**
 * What a request costs at berth's edge and at its peers, in one run on one machine: `npm run bench:proxy -- --help`. The proxy under test
 * has one core to itself, load and upstream share the other; each workload goes through each proxy in turn, pass by pass, so that what else
 * happens on the machine meets all alike. Cost is processor time, user and system, of all the proxy's processes.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { wrongs } from "./proxy/check.ts";
import { installPeers } from "./proxy/install-peers.ts";
import { measure, medians, startProxy, type Cell, type Pass, type Runner } from "./proxy/measure.ts";
import { fixedUpstream } from "./proxy/nginx.ts";
import { readOptions } from "./proxy/options.ts";
import { LOAD_CORE, openPinned } from "./proxy/pinned.ts";
import { proxies } from "./proxy/proxies.ts";
import { printWorkload } from "./proxy/print.ts";
import { WORKLOADS } from "./proxy/workloads.ts";
import { freePort, makeWorld } from "./proxy/world.ts";

/** Whatever hangs, nothing of this is left running after that. */
const AT_MOST_MS = 60 * 60_000;

const options = readOptions(process.argv.slice(2));
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
  const world = makeWorld(folder, await freePort(), await freePort());
  await processes.serve("upstream nginx", LOAD_CORE, fixedUpstream(world), world.fixedPort);
  const raw = { argv: [process.execPath, join(import.meta.dirname, "proxy/upstream.ts"), String(world.rawPort)] };
  await processes.serve("upstream raw", LOAD_CORE, raw, world.rawPort);

  processes.start("control", LOAD_CORE, { argv: [process.execPath, join(import.meta.dirname, "proxy/control-process.ts"), folder] });

  installPeers();
  const runners: Runner[] = [];
  for (const proxy of proxies(options.berth).filter(({ name }) => named(options.only, name))) {
    const missing = proxy.missing?.();
    if (missing !== undefined) {
      console.log(`${proxy.name} is left out: ${missing}`);
      continue;
    }
    try {
      const runner = await startProxy(proxy, world, await freePort(), processes);
      // What does only WebSockets is checked by their own load.
      const wrong = proxy.only === undefined ? await wrongs(world, runner.port, { noKeys: proxy.noKeys === true }) : [];
      if (wrong.length === 0) runners.push(runner);
      else console.log(`${proxy.name} is left out, since it does not do the work: ${wrong.join("; ")}\n${runner.pinned?.output().slice(-1_000)}`);
    } catch (error) {
      console.log(`${proxy.name} is left out: ${(error as Error).message}`);
    }
  }
  const warm = WORKLOADS[0];
  for (const runner of runners)
    if (warm !== undefined && runner.proxy?.only === undefined) await measure(runner, warm, { world, seconds: 1, processes });

  for (const workload of WORKLOADS.filter(({ name }) => named(options.workloads, name))) {
    const passes = new Map<string, Pass[]>(runners.map(({ name }) => [name, []]));
    const failed = new Map<string, string>();
    for (let pass = 0; pass < options.passes; pass++) {
      for (const runner of runners) {
        if (failed.has(runner.name) || (runner.proxy?.only !== undefined && !runner.proxy.only.includes(workload.name))) continue;
        try {
          passes.get(runner.name)?.push(await measure(runner, workload, { world, seconds: options.seconds, processes }));
        } catch (error) {
          failed.set(runner.name, (error as Error).message);
        }
      }
    }
    const cells = new Map<string, Cell>();
    for (const [name, got] of passes) {
      const why = failed.get(name);
      if (why !== undefined) cells.set(name, { failed: why });
      else if (got.length > 0) cells.set(name, medians(got));
    }
    printWorkload(workload, cells);
  }
}

function named(names: string[] | undefined, name: string): boolean {
  return names === undefined || names.includes(name) || names.includes(name.replaceAll(", ", "-"));
}

async function end(code: number): Promise<void> {
  await processes.stopAll();
  rmSync(folder, { recursive: true, force: true });
  process.exit(code);
}
