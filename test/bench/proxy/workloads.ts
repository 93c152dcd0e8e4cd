import { join } from "node:path";
import { PREFIX, FIXED, CONTAINERS, type World } from "./world.ts";
import type { Command } from "./pinned.ts";

/** What one run of a load found. `count` is what the cost is divided by. */
export type Found = { count: number; seconds: number; p50Us?: number; p99Us?: number };

export type Workload = {
  name: string;
  /** What is counted: requests, messages, GiB. */
  unit: "request" | "message" | "event" | "GiB";
  /** Long bodies: a peer may have a listener tuned for them. */
  stream?: true;
  load(at: { world: World; port: number; direct: boolean; seconds: number }): Command;
  /** Reads what the load printed; throws where anything at all went wrong. */
  read(output: string): Found;
};

const CONNECTIONS = 64;
const SCRIPT = join(import.meta.dirname, "load/wrk.lua");

const FIXED_IDS = [0, FIXED] as const;
const RAW_IDS = [FIXED, CONTAINERS] as const;

type WrkPlan = { method: string; path: string; ids: readonly [number, number]; sends: number; comes: number };

function wrk(name: string, plan: WrkPlan): Workload {
  return {
    name,
    unit: "request",
    load: ({ world, port, direct, seconds }) => {
      const told = [world.folder, plan.method, plan.path, ...plan.ids.map(String), String(plan.sends), direct ? "" : PREFIX];
      const url = `http://127.0.0.1:${port}/`;
      return { argv: ["wrk", "-t1", `-c${CONNECTIONS}`, `-d${seconds}s`, "--timeout", "10s", "-s", SCRIPT, url, "--", ...told] };
    },
    read: (output) => {
      const result = /^RESULT (.*)$/m.exec(output)?.[1];
      if (result === undefined) throw new Error(`wrk said: ${output.slice(-300)}`);
      const got = JSON.parse(result) as { requests: number; bytes: number; us: number; p50: number; p99: number; failed: number; statuses: number };
      if (got.failed > 0) throw new Error(`${got.failed} connections failed`);
      if (got.statuses > 0) throw new Error(`${got.statuses} of ${got.requests} answers were refusals`);
      if (got.requests === 0) throw new Error("not one answer came");
      if (got.bytes < got.requests * plan.comes) throw new Error(`bodies were cut: ${got.bytes} bytes in ${got.requests} answers`);
      return { count: got.requests, seconds: got.us / 1e6, p50Us: got.p50, p99Us: got.p99 };
    },
  };
}

export const WORKLOADS: readonly Workload[] = [
  wrk("get", { method: "GET", path: "/small", ids: FIXED_IDS, sends: 0, comes: 36 }),
  wrk("get10k", { method: "GET", path: "/10k", ids: FIXED_IDS, sends: 0, comes: 10_240 }),
  wrk("post64k", { method: "POST", path: "/sink", ids: RAW_IDS, sends: 65_536, comes: 5 }),
  wrk("chunked", { method: "GET", path: "/chunked", ids: RAW_IDS, sends: 0, comes: 65_536 }),
];
