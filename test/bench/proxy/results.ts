import type { Idle } from "./idle.ts";
import type { Cell, BenchPass } from "./measure.ts";

/** Everything that one run found. */
export type Results = {
  cells: Map<string, Map<string, Cell>>;
  idle: Idle[];
  /** Names of proxies that were left out, and why. */
  left: Map<string, string>;
  pass(workload: string, proxy: string): BenchPass | undefined;
  /** Processor time in microseconds, of what the workload counts. */
  cost(workload: string, proxy: string): number | undefined;
  idleKib(row: string, proxy: string): number | undefined;
};

export function openResults(): Results {
  const cells = new Map<string, Map<string, Cell>>();
  const idle: Idle[] = [];
  const pass = (workload: string, proxy: string) => {
    const cell = cells.get(workload)?.get(proxy);
    return cell === undefined || "failed" in cell ? undefined : cell;
  };
  return {
    cells,
    idle,
    left: new Map(),
    pass,
    cost: (workload, proxy) => pass(workload, proxy)?.cpuUs,
    idleKib: (row, proxy) => {
      const value = idle.find(({ name }) => name === proxy)?.kib[row];
      return typeof value === "number" ? value : undefined;
    },
  };
}
