import type { GrowthAxis } from "./growth.ts";
import type { Idle } from "./idle.ts";
import { median, type Cell, type BenchPass } from "./measure.ts";
import type { ServeMemory } from "./serve-memory.ts";

/** Everything that one run found. */
export type Results = {
  cells: Map<string, Map<string, Cell>>;
  idle: Idle[];
  growth: GrowthAxis[];
  workers: Map<string, Cell>;
  serve: ServeMemory | undefined;
  /** Names of proxies that were left out, and why. */
  left: Map<string, string>;
  pass(workload: string, proxy: string): BenchPass | undefined;
  /** Processor time in microseconds, of what the workload counts. */
  cost(workload: string, proxy: string): number | undefined;
  /** Median over the passes of what is compared in each, so that others' work on the machine meets both alike. */
  compared(workload: string, proxies: readonly [string, string], compare: (ours: BenchPass, theirs: BenchPass) => number): number | undefined;
  /** Median ratio of processor time. */
  ratio(workload: string, proxy: string, to: string): number | undefined;
  idleKib(row: string, proxy: string): number | undefined;
};

export function openResults(): Results {
  const cells = new Map<string, Map<string, Cell>>();
  const idle: Idle[] = [];
  const pass = (workload: string, proxy: string) => {
    const cell = cells.get(workload)?.get(proxy);
    return cell === undefined || "failed" in cell ? undefined : cell;
  };
  const compared: Results["compared"] = (workload, [proxy, to], compare) => comparePasses(pass(workload, proxy), pass(workload, to), compare);
  return {
    cells,
    idle,
    growth: [],
    workers: new Map(),
    serve: undefined,
    left: new Map(),
    pass,
    compared,
    cost: (workload, proxy) => pass(workload, proxy)?.cpuUs,
    ratio: (workload, proxy, to) => compared(workload, [proxy, to], costRatio),
    idleKib: (row, proxy) => {
      const value = idle.find(({ name }) => name === proxy)?.kib[row];
      return typeof value === "number" ? value : undefined;
    },
  };
}

/** Undefined where one of the two has no figure. */
export function comparePasses(
  ours: Cell | undefined,
  theirs: Cell | undefined,
  compare: (ours: BenchPass, theirs: BenchPass) => number,
): number | undefined {
  if (ours === undefined || theirs === undefined || "failed" in ours || "failed" in theirs) return undefined;
  return median(ours.passes.flatMap((one, index) => (theirs.passes[index] === undefined ? [] : [compare(one, theirs.passes[index])])));
}

export function costRatio(ours: BenchPass, theirs: BenchPass): number {
  return ours.cpuUs / theirs.cpuUs;
}
