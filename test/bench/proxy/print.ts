import type { Cell } from "./measure.ts";
import type { Workload } from "./workloads.ts";

const COLUMNS = ["µs CPU", "x nginx", "x lua", "per s", "p50 ms", "p99 ms", "RSS MB"] as const;

/** One workload as a table on the terminal. */
export function printWorkload(workload: Workload, cells: Map<string, Cell>): void {
  console.log(`\n${workload.name}, per ${workload.unit}`);
  console.log("".padEnd(24) + COLUMNS.map((name) => name.padStart(10)).join(""));
  const [nginx, lua] = ["nginx", "nginx-lua"].map((name) => costOf(cells.get(name)));
  for (const [name, cell] of cells) {
    if ("failed" in cell) {
      console.log(`${name.padEnd(24)}  FAILED: ${cell.failed}`);
      continue;
    }
    const ms = (us: number | undefined) => (us === undefined ? "" : (us / 1_000).toFixed(2));
    const times = (base: number | undefined) => (base === undefined ? "" : (cell.cpuUs / base).toFixed(2));
    const figures = [
      cell.cpuUs.toFixed(1),
      times(nginx),
      times(lua),
      cell.perSecond.toFixed(0),
      ms(cell.p50Us),
      ms(cell.p99Us),
      cell.rssMb.toFixed(0),
    ];
    console.log(name.padEnd(24) + figures.map((text) => text.padStart(10)).join(""));
  }
}

function costOf(cell: Cell | undefined): number | undefined {
  return cell === undefined || "failed" in cell ? undefined : cell.cpuUs;
}
