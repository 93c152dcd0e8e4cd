import type { Idle } from "./idle.ts";
import type { Cell } from "./measure.ts";
import type { Results } from "./results.ts";
import { bound, TARGETS, compareToTarget } from "./targets.ts";
import type { Workload } from "./workloads.ts";

const COLUMNS = ["x nginx", "x lua", "per s", "p50 ms", "p99 ms", "RSS MB", "+RSS MB"] as const;
const NAME = 26;

/** One workload as a table on the terminal. */
export function printWorkload(workload: Workload, cells: Map<string, Cell>): void {
  console.log(`\n${workload.name}: ${workload.says}`);
  const long = workload.unit === "GiB";
  console.log("".padEnd(NAME) + [long ? "s CPU/GiB" : `µs/${workload.unit}`, ...COLUMNS].map((name) => name.padStart(11)).join(""));
  const [nginx, lua] = ["nginx", "nginx-lua"].map((name) => costOf(cells.get(name)));
  for (const [name, cell] of cells) {
    if ("failed" in cell) {
      console.log(`${name.padEnd(NAME)}  FAILED: ${cell.failed}`);
      continue;
    }
    const ms = (us: number | undefined) => (us === undefined ? "" : (us / 1_000).toFixed(2));
    const times = (base: number | undefined) => (base === undefined || cell.cpuUs === 0 ? "" : (cell.cpuUs / base).toFixed(2));
    const cost = cell.cpuUs === 0 ? "" : long ? (cell.cpuUs / 1e6).toFixed(2) : cell.cpuUs.toFixed(1);
    const figures = [
      cost,
      times(nginx),
      times(lua),
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
    const values = berths.map((berth) => target.measured(results, berth));
    if (values.every((value) => value === undefined)) return [];
    return [
      [target.says, bound(target), ...values.map((value) => (value === undefined ? "" : `${value.toFixed(2)} ${compareToTarget(target, value)}`))],
    ];
  });
  if (rows.length === 0) return;
  console.log("\ntargets");
  console.log(["", "is to be", ...berths].map(targetCell).join(""));
  for (const row of rows) console.log(row.map(targetCell).join(""));
}

function targetCell(text: string, column: number): string {
  return column === 0 ? text.padEnd(40) : text.padStart(22);
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

function costOf(cell: Cell | undefined): number | undefined {
  return cell === undefined || "failed" in cell ? undefined : cell.cpuUs;
}
