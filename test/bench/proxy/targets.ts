import type { Results } from "./results.ts";

/** What berth is held to, each as a ratio or a difference within one run. Lower is better in all. */
export type BenchTarget = {
  says: string;
  /** Undefined where this run has no figure for it. */
  measured(results: Results, berth: string): number | undefined;
  floor: number;
  /** What is reached for beyond the floor. */
  goal?: number;
  unit: "×" | "MiB" | "KiB" | "ms";
};

const times = (workload: string, peer: string, floor: number, goal?: number): BenchTarget => ({
  says: `${workload}: CPU × ${peer}`,
  measured: (results, berth) => {
    const [ours, theirs] = [results.cost(workload, berth), results.cost(workload, peer)];
    return ours === undefined || theirs === undefined ? undefined : ours / theirs;
  },
  floor,
  ...(goal === undefined ? {} : { goal }),
  unit: "×",
});

const grows = (workload: string): BenchTarget => ({
  says: `${workload}: growth of memory`,
  measured: (results, berth) => results.pass(workload, berth)?.grownMb,
  floor: 64,
  unit: "MiB",
});

const idle = (row: string): BenchTarget => ({
  says: `idle: memory of each of ${row}`,
  measured: (results, berth) => results.idleKib(row, berth),
  floor: 16,
  unit: "KiB",
});

export const TARGETS: readonly BenchTarget[] = [
  times("get", "nginx-lua", 1.15, 1),
  times("get", "nginx", 1.3, 1),
  times("get", "http-proxy", 0.2),
  times("get", "configurable-http-proxy", 0.12),
  times("up", "nginx", 1.1),
  times("down", "nginx", 1.1),
  grows("up"),
  grows("down"),
  times("ws125", "nginx", 1.5, 1.2),
  times("ws16k", "nginx", 1.5, 1.2),
  times("ws125", "ws-ended", 0.75),
  times("ws16k", "ws-ended", 0.75),
  idle("1 000"),
  idle("10 000"),
  {
    says: "paced: p99 above direct",
    measured: (results, berth) => {
      const [ours, direct] = [results.pass("paced", berth)?.p99Us, results.pass("paced", "direct")?.p99Us];
      return ours === undefined || direct === undefined ? undefined : (ours - direct) / 1_000;
    },
    floor: 3,
    unit: "ms",
  },
];

export function compareToTarget({ floor, goal }: BenchTarget, measured: number): "met" | "floor met" | "not met" {
  if (measured > floor) return "not met";
  return goal === undefined || measured <= goal ? "met" : "floor met";
}

export function bound({ floor, goal, unit }: BenchTarget): string {
  return `≤ ${floor} ${unit}${goal === undefined ? "" : `, goal ${goal}`}`;
}
