import type { Idle } from "./idle.ts";
import type { Cell } from "./measure.ts";
import type { GrowthAxis } from "./growth.ts";
import { comparePasses, costRatio, type Results } from "./results.ts";
import type { ServeMemory } from "./serve-memory.ts";
import { boundText, TARGETS, targetText } from "./targets.ts";
import type { Workload } from "./workloads.ts";

const COLUMNS = ["x nginx", "x lua", "per s", "p50 ms", "p99 ms", "RSS MB", "+RSS MB"] as const;
const NAME = 26;

/** One workload as a table on the terminal. */
export function printWorkload(workload: Workload, cells: Map<string, Cell>): void {
  console.log(`\n${workload.name}: ${workload.says}`);
  const long = workload.unit === "GiB";
  console.log("".padEnd(NAME) + [long ? "s CPU/GiB" : `µs/${workload.unit}`, ...COLUMNS].map((name) => name.padStart(11)).join(""));
  for (const [name, cell] of cells) {
    if ("failed" in cell) {
      console.log(`${name.padEnd(NAME)}  FAILED: ${cell.failed}`);
      continue;
    }
    const ms = (us: number | undefined) => (us === undefined ? "" : (us / 1_000).toFixed(2));
    const times = (base: string) => (cell.cpuUs === 0 ? "" : (comparePasses(cell, cells.get(base), costRatio)?.toFixed(2) ?? ""));
    const cost = cell.cpuUs === 0 ? "" : long ? (cell.cpuUs / 1e6).toFixed(2) : cell.cpuUs.toFixed(1);
    const figures = [
      cost,
      times(workload.named ? "nginx, h2" : "nginx"),
      times("nginx-lua"),
      long ? cell.perSecond.toFixed(2) : cell.perSecond.toFixed(0),
      ms(cell.p50Us),
      ms(cell.p99Us),
      cell.rssMb.toFixed(0),
      cell.grownMb.toFixed(0),
    ];
    console.log(name.padEnd(NAME) + figures.map((text) => text.padStart(11)).join(""));
  }
}

/** Each target beside what was measured for each row of berth; those that this run has no figure for are not shown. */
export function printTargets(results: Results, berths: readonly string[]): void {
  const rows = TARGETS.flatMap((target) => {
    const values = berths.map((berth) => targetText(target, results, berth));
    return values.every((value) => value === "") ? [] : [[target.says, boundText(target.floor, target), boundText(target.goal, target), ...values]];
  });
  if (rows.length === 0) return;
  console.log("\ntargets");
  for (const row of [["", "floor", "goal", ...berths], ...rows]) console.log(row.map(targetCell).join(""));
}

function targetCell(text: string, column: number): string {
  return column === 0 ? text.padEnd(58) : text.padStart(column < 3 ? 11 : 22);
}

export function printIdle(rows: readonly string[], idle: readonly Idle[]): void {
  console.log("\nidle: KiB of memory per connection");
  console.log("".padEnd(NAME) + ["RSS MB", ...rows].map((name) => name.padStart(18)).join(""));
  for (const { name, rssMb, kib } of idle) {
    const cell = (row: string) => {
      const value = kib[row];
      return typeof value === "number" ? value.toFixed(1) : "FAILED";
    };
    console.log(name.padEnd(NAME) + [rssMb.toFixed(0), ...rows.map(cell)].map((text) => text.padStart(18)).join(""));
    for (const [row, value] of Object.entries(kib)) if (typeof value !== "number") console.log(`  ${row} failed: ${value.failed}`);
  }
}

export function printGrowth({ name, rows }: GrowthAxis): void {
  const proxies = [...(rows[0]?.cells.keys() ?? [])];
  console.log(`\nµs of CPU of a small GET (x nginx), by ${name}`);
  console.log("".padEnd(NAME) + proxies.map((proxy) => proxy.padStart(18)).join(""));
  for (const { size, cells } of rows) console.log(String(size).padEnd(NAME) + proxies.map((proxy) => growthText(cells, proxy).padStart(18)).join(""));
}

/** Microseconds, and in brackets the ratio to nginx at the same size. */
export function growthText(cells: Map<string, Cell>, proxy: string): string {
  const cell = cells.get(proxy);
  if (cell === undefined || "failed" in cell) return "failed";
  const ratio = comparePasses(cell, cells.get("nginx"), costRatio);
  return `${cell.cpuUs.toFixed(1)}${ratio === undefined ? "" : ` (${ratio.toFixed(2)})`}`;
}

export function printServe({ totalMib, processes }: ServeMemory): void {
  console.log(`\nidle berth serve: ${totalMib.toFixed(0)} MiB, of which ${processes.map(({ role, mib }) => `${role} ${mib.toFixed(0)}`).join(", ")}`);
}
