import type { Results } from "./results.ts";

/** What berth is held to, each as a ratio or a difference within one run. Lower is better in all. */
export type BenchTarget = {
  says: string;
  /** The only row of berth that it is for. */
  row?: string;
  /** Undefined where this run has no figure for it. */
  measured(results: Results, berth: string): number | undefined;
  /** Undefined: the figure is reported only. */
  floor?: number;
  /** What is reached for beyond the floor. */
  goal?: number;
  unit: "×" | "MiB" | "KiB" | "ms";
};

type Bounds = Pick<BenchTarget, "floor" | "goal" | "row">;

const times = (workload: string, peer: string, bounds: Bounds): BenchTarget => ({
  says: `${workload}: CPU × ${peer}`,
  measured: (results, berth) => results.ratio(workload, berth, peer),
  unit: "×",
  ...bounds,
});

const grows = (workload: string): BenchTarget => ({
  says: `${workload}: growth of memory`,
  measured: (results, berth) => results.pass(workload, berth)?.grownMb,
  floor: 64,
  unit: "MiB",
});

const idle = (row: string, bounds: Bounds): BenchTarget => ({
  says: `idle: memory of each of ${row}`,
  measured: (results, berth) => results.idleKib(row, berth),
  unit: "KiB",
  ...bounds,
});

const PASSED_ON = { floor: 1.2, goal: 1 };
const LONG = { floor: 1.3, goal: 1.1 };

export const TARGETS: readonly BenchTarget[] = [
  times("get", "nginx-lua", { floor: 1, goal: 0.9 }),
  { ...times("get", "nginx-lua", { floor: 1.15, goal: 1 }), row: "berth", says: "get on Node's sockets: CPU × nginx-lua" },
  times("get", "nginx", { floor: 1.25, goal: 1.05 }),
  // With as many connections to containers as berth has, on either side.
  times("get64", "nginx-lua", {}),
  times("get64", "nginx", {}),
  times("get", "nginx-lua, pools", {}),
  times("get", "nginx, pools", {}),
  ...["get10k", "post64k", "chunked", "sse", "ws125", "ws16k"].map((workload) => times(workload, "nginx", PASSED_ON)),
  times("up", "nginx", LONG),
  times("down", "nginx", LONG),
  {
    says: "get with access log and metrics: CPU × nginx with its log",
    measured: (results, berth) => results.ratio("get", `${berth}, log`, "nginx, log"),
    floor: 1.4,
    goal: 1.15,
    unit: "×",
  },
  times("get", "http-proxy", { floor: 0.2, goal: 0.15 }),
  times("get", "configurable-http-proxy", { floor: 0.2, goal: 0.15 }),
  {
    says: "paced: p99 above direct",
    measured: (results, berth) =>
      results.compared("paced", [berth, "direct"], (ours, direct) => ((ours.p99Us ?? Number.NaN) - (direct.p99Us ?? Number.NaN)) / 1_000),
    floor: 2,
    goal: 1,
    unit: "ms",
  },
  idle("10 000", { floor: 6, goal: 4 }),
  idle("5 000 WebSockets", { floor: 24, goal: 12 }),
  {
    says: "idle memory of all processes of berth serve",
    row: "berth",
    measured: ({ serve }) => serve?.totalMib,
    floor: 200,
    goal: 160,
    unit: "MiB",
  },
  {
    says: "get over HTTP/2: CPU × nginx",
    row: "berth",
    measured: (results) => results.ratio("get-h2", "berth, h2", "nginx, h2"),
    goal: 3,
    unit: "×",
  },
  grows("up"),
  grows("down"),
  times("ws125", "ws-ended", { floor: 0.75 }),
  times("ws16k", "ws-ended", { floor: 0.75 }),
];

/** The figure with its unit and what it means; empty where the target is not for this row, or there is no figure. */
export function targetText(target: BenchTarget, results: Results, berth: string): string {
  if (target.row !== undefined && target.row !== berth) return "";
  const value = target.measured(results, berth);
  return value === undefined ? "" : `${value.toFixed(2)}${compareToTarget(target, value)}`;
}

function compareToTarget({ floor, goal }: BenchTarget, measured: number): string {
  if (floor === undefined && goal === undefined) return "";
  if (goal !== undefined && measured <= goal) return ": goal met";
  if (floor === undefined) return ": goal not met";
  if (measured > floor) return ": not met";
  return goal === undefined ? ": met" : ": floor met";
}

export function boundText(bound: number | undefined, { unit }: BenchTarget): string {
  return bound === undefined ? "" : `${bound} ${unit}`;
}
