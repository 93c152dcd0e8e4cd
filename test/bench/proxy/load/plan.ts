import { readFileSync } from "node:fs";
import { join } from "node:path";
import { cpuUs } from "../cost.ts";
import type { BenchWorld } from "../world.ts";

/** What a load of ours gets, as JSON in its one argument. */
export type LoadPlan = {
  folder: string;
  port: number;
  /** Before the container's id; empty where requests go to the container directly. */
  prefix: string;
  path: string;
  /** Indices of the containers that get requests, from the first up to the second. */
  ids: readonly [number, number];
  seconds: number;
  /** Until it is interrupted, and from the first message on. */
  endless?: true;
  connections: number;
  /** Bytes of a message, or of a whole body. */
  bytes: number;
  /** Of the proxy, whose processor time is read when the load begins and ends. */
  pid?: number;
  /** Further words of one load. */
  more?: string;
};

/** What one run of a load found. */
export type LoadResult = {
  /** What the cost is divided by: requests, messages, GiB. */
  count: number;
  seconds: number;
  p50Us?: number;
  p99Us?: number;
  /** Processor time of the proxy meanwhile, where the load itself has read it. */
  cpuUs?: number;
};

export function readPlan(): { plan: LoadPlan; key(index: number): string; target(index: number): string } {
  const plan = JSON.parse(process.argv[2] ?? "{}") as LoadPlan;
  const world = JSON.parse(readFileSync(join(plan.folder, "world.json"), "utf8")) as BenchWorld;
  const [first, last] = plan.ids;
  return {
    plan,
    key: (index) => world.keys[(index * 13) % world.keys.length] ?? "",
    target: (index) => (plan.prefix === "" ? "" : plan.prefix + (world.ids[first + ((index * 7) % (last - first))] ?? "")) + plan.path,
  };
}

/** Begins to count; the returned function ends it and says what was found. */
export function begin(plan: LoadPlan): (count: number, timesUs?: number[]) => LoadResult {
  const spent = plan.pid === undefined ? 0 : cpuUs(plan.pid);
  const begun = performance.now();
  return (count, timesUs) => {
    const seconds = (performance.now() - begun) / 1_000;
    const cpu = plan.pid === undefined ? {} : { cpuUs: cpuUs(plan.pid) - spent };
    return { count, seconds, ...cpu, ...(timesUs === undefined ? {} : { p50Us: at(timesUs, 0.5), p99Us: at(timesUs, 0.99) }) };
  };
}

export function tell(found: LoadResult): never {
  console.log(`RESULT ${JSON.stringify(found)}`);
  process.exit(0);
}

/** Anything that went wrong spoils the whole figure. */
export function fail(why: string): never {
  console.log(`FAILED ${why}`);
  process.exit(1);
}

function at(times: number[], part: number): number {
  const sorted = times.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? 0;
}
