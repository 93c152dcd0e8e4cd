/**
 * What a request costs where nginx carries its bytes: nginx with berth's decisions (`lua-compat/callout.conf`) beside nginx with a Lua of the same work
 * that knows all keys and containers, in one run: `npm run bench:callout -- [passes] [seconds]`. Cost is processor time, user and system, of all
 * processes of nginx, and of berth's gateway, which decides.
 */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { cpuUs } from "./proxy/cost.ts";
import { measure, medians, type At, type BenchPass, type Runner } from "./proxy/measure.ts";
import { fixedUpstream, luaMissing, nginxLua } from "./proxy/nginx.ts";
import { LOAD_CORE, openPinned, PROXY_CORE } from "./proxy/pinned.ts";
import { missingTools } from "./proxy/proxies.ts";
import { smallGet } from "./proxy/workloads.ts";
import { type BenchWorld, freePort, makeWorld } from "./proxy/world.ts";

const ROOT = join(import.meta.dirname, "../..");
const MODULES = "/usr/lib/nginx/modules";
/** As many users and containers in use at a time. */
const SIZE = { keys: 16, containers: 16, fixed: 16 };
const SECRET = "bench-secret-of-thirty-two-bytes-";
const AT_MOST_MS = 20 * 60_000;

const [passes = 7, seconds = 3] = process.argv.slice(2).map(Number);
const lacking = [...missingTools(), ...[luaMissing()].filter((why) => why !== undefined)];
if (lacking.length > 0) {
  console.error(`This cannot run here: ${lacking.join("; ")}`);
  process.exit(1);
}
const folder = mkdtempSync(join(tmpdir(), "berth-bench-callout-"));
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
  spawnSync("taskset", ["-cp", LOAD_CORE, String(process.pid)]);
  const world = makeWorld(folder, { fixedPort: await freePort(), rawPort: await freePort() }, SIZE);
  await processes.serve("upstream nginx", LOAD_CORE, fixedUpstream(world), world.fixedPort);
  processes.start("control", LOAD_CORE, { argv: [process.execPath, join(import.meta.dirname, "proxy/control-process.ts"), folder] });
  const [edge, callout] = [await freePort(), await freePort()];
  const settings = { callout: { host: "127.0.0.1", port: callout, secret: SECRET, activeMs: 60_000 } };
  const gateway = await processes.serve(
    "berth",
    LOAD_CORE,
    {
      argv: [process.execPath, "--no-warnings", join(import.meta.dirname, "proxy/berth-process.ts"), folder, String(edge), JSON.stringify(settings)],
    },
    edge,
  );
  const runners: Runner[] = [];
  for (const [name, command] of [
    ["nginx with Lua", nginxLua()],
    ["nginx with berth's decisions", nginxCallout({ edge, callout })],
  ] as const) {
    const port = await freePort();
    runners.push({ name, proxy: { name, command }, port, pinned: await processes.serve(name, PROXY_CORE, command(world, port), port) });
  }
  const at: At = { world, seconds, streamMb: 0, processes };
  const workload = smallGet(0);
  const results = new Map<string, BenchPass[]>(runners.map(({ name }) => [name, []]));
  const deciding: number[] = [];
  for (let pass = 0; pass <= passes; pass++) {
    for (const runner of runners) {
      const before = cpuUs(gateway.pid);
      const result = await measure(runner, workload, at);
      // The first is for warming up.
      if (pass === 0) continue;
      results.get(runner.name)?.push(result);
      // One more second came before the load that is counted.
      if (runner === runners[1]) deciding.push((cpuUs(gateway.pid) - before) / (result.perSecond * (seconds + 1)));
    }
  }
  const cells = [...results].map(([name, all]) => ({ name, ...medians(all) }));
  for (const { name, cpuUs: us, perSecond, p99Us = 0 } of cells)
    console.log(`${name.padEnd(30)} ${us.toFixed(1)} µs of processor time, ${perSecond.toFixed(0)} requests/s, p99 ${(p99Us / 1_000).toFixed(2)} ms`);
  const [own, berth] = cells;
  const ratios = (results.get("nginx with berth's decisions") ?? []).map(
    ({ cpuUs: us }, pass) => us / (results.get("nginx with Lua")?.[pass]?.cpuUs ?? us),
  );
  console.log(`berth's gateway beside it: ${(deciding.toSorted((a, b) => a - b)[Math.floor(deciding.length / 2)] ?? 0).toFixed(1)} µs`);
  console.log(
    `ratio of medians ${((berth?.cpuUs ?? 0) / (own?.cpuUs ?? 1)).toFixed(3)}, of the passes ${ratios.map((ratio) => ratio.toFixed(3)).join(", ")}; the aim is 1.05`,
  );
}

/** The files of lua-compat as an operator includes them. */
function nginxCallout(ports: { edge: number; callout: number }) {
  return (world: BenchWorld, port: number) => {
    const folderOf = join(ROOT, "lua-compat");
    const http = readFileSync(join(folderOf, "callout-http.conf"), "utf8")
      .replace("127.0.0.1:8080", `127.0.0.1:${ports.edge}`)
      .replace("port = 8082", `port = ${ports.callout}`)
      .replace("change-me-to-the-value-of-BERTH_CALLOUT_SECRET", SECRET)
      .replaceAll("/etc/nginx/lua-compat", folderOf);
    const server = readFileSync(join(folderOf, "callout.conf"), "utf8").replaceAll("/etc/nginx/lua-compat", folderOf);
    const file = join(world.folder, `callout-${port}.conf`);
    const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map((kind) => `${kind}_temp_path ${world.folder}/c-${kind};`).join("\n");
    writeFileSync(
      file,
      `load_module ${MODULES}/ndk_http_module.so; load_module ${MODULES}/ngx_http_lua_module.so;
      ${process.getuid?.() === 0 ? "user root;" : ""}
      daemon off; worker_processes 1; worker_rlimit_nofile 20000; pid ${world.folder}/callout.pid; pcre_jit on;
      error_log ${world.folder}/callout-error.log crit;
      events { worker_connections 20000; multi_accept on; }
      http {
        access_log off; ${temporary} tcp_nodelay on; keepalive_requests 1000000000; keepalive_timeout 600s;
        ${http}
        server { listen 127.0.0.1:${port} backlog=4096; ${server} }
      }`,
    );
    return { argv: ["nginx", "-p", world.folder, "-c", file, "-e", `${world.folder}/callout-error.log`] };
  };
}

async function end(code: number): Promise<void> {
  await processes.stopAll();
  rmSync(folder, { recursive: true, force: true });
  process.exit(code);
}
