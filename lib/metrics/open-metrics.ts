import { Fault } from "../fault.ts";
import { METRICS, type MetricRow } from "./table.ts";

type CellOf<Row> = Row extends { type: "histogram" } ? Spread : Count;
type Families = { readonly [Name in keyof typeof METRICS]: Family<(typeof METRICS)[Name]["labels"], CellOf<(typeof METRICS)[Name]>> };

/** The metrics of one process. Each has a cell for each combination of its labels' values: `metrics.requests.at("proxy", "2xx")`. */
export type Metrics = Families & {
  /** The current values, for the sum of all processes. */
  snapshot(): Promise<Snapshot>;
};

export function openMetrics(): Metrics {
  const families = Object.entries<MetricRow>(METRICS).map(
    ([key, row]) => [key, new Family(row, () => (row.bounds === undefined ? new Count() : new Spread(row.bounds)))] as const,
  );
  let current: Promise<Snapshot> | undefined;
  const take = async (): Promise<Snapshot> => (await Promise.all(families.map(([, family]) => family.snapshot()))).flat();
  return {
    ...(Object.fromEntries(families) as unknown as Families),
    // Two at a time would clear each other's gauges.
    snapshot: () => (current ??= take().finally(() => (current = undefined))),
  };
}

/** One number of a metric; of a histogram each has a name of its own. */
type Sample = { metricName?: string; labels: Record<string, string | number>; value: number };

/** The metrics of one process as of one moment, in the form in which `prom-client` puts those of several together. It survives JSON. */
export type Snapshot = {
  name: string;
  type: "counter" | "gauge" | "histogram" | "summary";
  help: string;
  aggregator: string;
  values: Sample[];
}[];

/** One number. Code that counts keeps it: counting is an addition without a lookup of labels. */
export class Count {
  value = 0;

  add(n = 1): void {
    this.value += n;
  }

  set(n: number): void {
    this.value = n;
  }
}

/** A histogram: one number for each upper bound, and one above them all. */
export class Spread {
  readonly bounds: readonly number[];
  readonly counts: number[];
  sum = 0;

  constructor(bounds: readonly number[]) {
    this.bounds = bounds;
    this.counts = Array.from({ length: bounds.length + 1 }, () => 0);
  }

  observe(value: number): void {
    const { bounds, counts } = this;
    const { length } = bounds;
    let at = 0;
    while (at < length && !(value <= (bounds[at] as number))) at++;
    counts[at] = (counts[at] as number) + 1;
    this.sum += value;
  }
}

/** The limit of label combinations; all others are counted together. */
const MOST_CELLS = 5_000;
const OTHERS = "(others)";

type Values<Labels extends readonly string[]> = { [I in keyof Labels]: string };

/** One metric of one process. */
class Family<Labels extends readonly string[], Cell extends Count | Spread> {
  readonly #row: MetricRow;
  readonly #make: () => Cell;
  readonly #cells = new Map<string, { labels: Record<string, string>; cell: Cell }>();
  readonly #looks: ((family: Family<Labels, Cell>) => Promise<void> | void)[] = [];

  constructor(row: MetricRow, make: () => Cell) {
    this.#row = row;
    this.#make = make;
    // Zero instead of no value: an alert on the first event needs it.
    if (row.labels.length === 0 && row.type !== "gauge") this.at(...([] as unknown as Values<Labels>));
  }

  /** The cell of these label values, in the table's order. Frequent counters keep it. */
  at(...values: Values<Labels>): Cell {
    const key = values.join("\0");
    const existing = this.#cells.get(key);
    if (existing !== undefined) return existing.cell;
    // The first label may have many values; the others have few.
    const [first, ...rest] = values as readonly string[];
    if (first !== undefined && first !== OTHERS && this.#cells.size >= MOST_CELLS) return this.at(...([OTHERS, ...rest] as Values<Labels>));
    const labels = Object.fromEntries(this.#row.labels.map((name, at) => [name, (values as readonly string[])[at] ?? ""]));
    const cell = this.#make();
    this.#cells.set(key, { labels, cell });
    return cell;
  }

  /** For a gauge: `look` runs before each snapshot, and sets the values. Where it fails with a fault, the gauge has none: a store that cannot be read. */
  look(look: (family: Family<Labels, Cell>) => Promise<void> | void): void {
    this.#looks.push(look);
  }

  async snapshot(): Promise<Snapshot> {
    // There may be fewer labels than before: a state that no container has any more.
    if (this.#looks.length > 0) this.#cells.clear();
    try {
      for (const look of this.#looks) await look(this);
    } catch (error) {
      if (!(error instanceof Fault)) throw error;
      this.#cells.clear();
    }
    if (this.#cells.size === 0) return [];
    const { name, type, says, across = "sum" } = this.#row;
    const values = [...this.#cells.values()].flatMap(({ labels, cell }) => samples(name, labels, cell));
    return [{ name, type, help: says, aggregator: across, values }];
  }
}

function samples(name: string, labels: Record<string, string>, cell: Count | Spread): Sample[] {
  if (cell instanceof Count) return [{ labels, value: cell.value }];
  let below = 0;
  const buckets = cell.counts.map((count, at): Sample => {
    below += count;
    return { metricName: `${name}_bucket`, labels: { ...labels, le: String(cell.bounds[at] ?? "+Inf") }, value: below };
  });
  return [...buckets, { metricName: `${name}_sum`, labels, value: cell.sum }, { metricName: `${name}_count`, labels, value: below }];
}
