import { readFileSync } from "node:fs";
import { rssKb } from "./cost.ts";
import { measure, startProxy, type At } from "./measure.ts";
import { LOAD_CORE } from "./pinned.ts";
import type { Proxy } from "./proxies.ts";
import { ownCommand, WORKLOADS } from "./workloads.ts";
import { pause } from "../../fixtures/clock.ts";

/** Kilobytes of resident memory per connection that is open and silent, or why there is no figure. */
export type Idle = { name: string; rssMb: number; kib: Record<string, number | { failed: string }> };

/** Each row is a number of connections; on the last rows a WebSocket is open on each, with its own connection to the container. */
const ROWS = [
  { name: "10", connections: 10 },
  { name: "1 000", connections: 1_000 },
  { name: "10 000", connections: 10_000 },
  { name: "1 000 WebSockets", connections: 1_000, more: "websocket" },
  { name: "5 000 WebSockets", connections: 5_000, more: "websocket" },
] as const;

export const IDLE_ROWS = ROWS.map(({ name }) => name);

const OPEN_MS = 30_000;
/** Collectors of garbage come to rest meanwhile. */
const SETTLE_MS = 1_000;

/** Each row in a process of its own, which has answered for a second before its memory is first looked at: memory that a row took is not given back. */
export async function measureIdle(proxy: Proxy, at: At): Promise<Idle> {
  const idle: Idle = { name: proxy.name, rssMb: 0, kib: {} };
  for (const row of ROWS) {
    if (row.connections > openFiles() - 1_000) {
      idle.kib[row.name] = { failed: `a process here may have ${openFiles()} files open` };
      continue;
    }
    const { beforeKb, opened } = await measureRow(row, proxy, at);
    idle.rssMb ||= beforeKb / 1_024;
    idle.kib[row.name] = typeof opened === "number" ? opened / row.connections : { failed: opened };
  }
  return idle;
}

/** `opened`: by how many KiB the process has grown with the connections open; or what went wrong. */
async function measureRow(row: (typeof ROWS)[number], proxy: Proxy, at: At): Promise<{ beforeKb: number; opened: number | string }> {
  const { processes, world } = at;
  const runner = await startProxy(proxy, world, processes);
  const pid = runner.pinned?.pid ?? 0;
  try {
    const [warm] = WORKLOADS;
    if (warm !== undefined) await measure(runner, warm, { ...at, seconds: 1 });
    await pause(SETTLE_MS);
    const beforeKb = rssKb(pid);
    const [to, path] = "more" in row ? (["raw", "/ws"] as const) : (["fixed", "/small"] as const);
    const plan = { load: "idle", to, path, connections: row.connections, bytes: 0, ...("more" in row && { more: row.more }) };
    const load = processes.start(`idle ${proxy.name}`, LOAD_CORE, ownCommand(plan, { ...at, port: runner.port, pid }));
    const end = Date.now() + OPEN_MS;
    while (!load.output().includes("IDLE") && !load.ended() && Date.now() < end) await pause(20);
    await pause(SETTLE_MS);
    const isOpen = load.output().includes("IDLE") && !load.ended();
    const opened = isOpen ? rssKb(pid) - beforeKb : load.output().slice(0, 200) || "not all were open in time";
    await load.stop();
    return { beforeKb, opened };
  } finally {
    await runner.pinned?.stop();
  }
}

function openFiles(): number {
  return Number(/^Max open files\s+(\d+)/m.exec(readFileSync("/proc/self/limits", "utf8"))?.[1] ?? 1_024);
}
