/**
 * What one WebSocket message costs the splice alone, and nginx that proxies the same: processor time per echo, as
 * medians of interleaved passes; and what an idle WebSocket costs in memory. `node test/bench/websocket-splice.ts [SECONDS [PASSES]]`
 */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { rssKb } from "./proxy/cost.ts";
import { LOAD_CORE, openPinned, PROXY_CORE, type PinnedCommand, type Pinned } from "./proxy/pinned.ts";
import { freePort } from "./proxy/world.ts";
import { pause } from "../fixtures/clock.ts";

const seconds = Number(process.argv[2] ?? 3);
const passes = Number(process.argv[3] ?? 3);
const CONNECTIONS = 100;
const IDLE = 1_000;
const SIZES = [125, 16_384];
const ROLES = join(import.meta.dirname, "websocket-splice/roles.ts");

const role = (...args: (string | number)[]): PinnedCommand => ({ argv: [process.execPath, "--expose-gc", ROLES, ...args.map(String)] });
const median = (values: number[]) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;

const folder = await mkdtemp(join(tmpdir(), "berth-ws-"));
const processes = openPinned(folder);
try {
  const upstream = await freePort();
  await processes.serve("echo", LOAD_CORE, role("echo", upstream), upstream);
  const commands: [name: string, command: (port: number) => Promise<PinnedCommand>][] = [
    ["nginx", (port) => nginx(port, upstream)],
    ["berth", async (port) => role("proxy", port, upstream)],
  ];
  const rows: { name: string; port: number; proxy: Pinned; us: number[][]; perSecond: number[] }[] = [];
  for (const [name, command] of commands) {
    const port = await freePort();
    rows.push({ name, port, proxy: await processes.serve(name, PROXY_CORE, await command(port), port), us: SIZES.map(() => []), perSecond: [] });
  }
  for (let pass = 0; pass < passes; pass++) {
    for (const [at, bytes] of SIZES.entries()) {
      for (const row of rows) {
        const load = processes.startLoad(`the load of ${row.name}`, role("load", row.port, row.proxy.pid, bytes, CONNECTIONS, seconds));
        const output = await processes.outputOf(load, seconds * 1_000 + 10_000);
        const result = JSON.parse(/RESULT (.*)/.exec(output)?.[1] ?? "{}") as { us: number; perSecond: number };
        row.us[at]?.push(result.us);
        if (at === 0) row.perSecond.push(result.perSecond);
      }
    }
  }
  const base = rows[0]?.us.map(median) ?? [];
  for (const { name, us, perSecond } of rows) {
    const cells = us.map(
      (values, at) => `${SIZES[at]} B: ${median(values).toFixed(1)} µs (${(median(values) / (base[at] ?? 1)).toFixed(2)} × nginx)`,
    );
    console.log(`${name.padEnd(8)} ${cells.join("   ")}   ${Math.round(median(perSecond))}/s`);
  }
  for (const { name, port, proxy } of rows) {
    const before = rssKb(proxy.pid);
    const load = processes.start("idle", LOAD_CORE, role("idle", port, IDLE));
    while (!load.output().includes("IDLE")) await pause(50);
    await pause(2_000);
    console.log(`${name.padEnd(8)} ${((rssKb(proxy.pid) - before) / IDLE).toFixed(1)} KiB for each of ${IDLE} idle ones`);
    await load.stop();
  }
} finally {
  await processes.stopAll();
  await rm(folder, { recursive: true, force: true });
}

async function nginx(port: number, upstream: number): Promise<PinnedCommand> {
  const file = join(folder, "nginx.conf");
  await writeFile(
    file,
    `${process.getuid?.() === 0 ? "user root;" : ""} daemon off; worker_processes 1; worker_rlimit_nofile 20000; pid ${folder}/nginx.pid;
    error_log ${folder}/error.log crit;
    events { worker_connections 20000; multi_accept on; }
    http { access_log off; tcp_nodelay on; server { listen 127.0.0.1:${port} backlog=4096; location / {
      proxy_pass http://127.0.0.1:${upstream}; proxy_http_version 1.1; proxy_set_header Connection Upgrade; proxy_set_header Upgrade websocket;
      proxy_buffer_size 64k; proxy_buffers 8 64k; proxy_read_timeout 1h; } } }`,
  );
  return { argv: ["nginx", "-p", folder, "-c", file, "-e", `${folder}/error.log`] };
}
