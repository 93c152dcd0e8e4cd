import { Count, Spread } from "./cells.ts";
import type { Sample, Snapshot } from "./snapshot.ts";
import type { MetricRow } from "./table.ts";

/** Whatever the labels are, nobody's memory grows beyond this: the rest is counted together. */
const MOST_CELLS = 5_000;
const OTHERS = "(others)";

type Values<Labels extends readonly string[]> = { [I in keyof Labels]: string };

/** One metric of one process. */
export class Family<Labels extends readonly string[], Cell extends Count | Spread> {
  readonly #row: MetricRow;
  readonly #make: () => Cell;
  readonly #cells = new Map<string, { labels: Record<string, string>; cell: Cell }>();
  readonly #looks: ((family: Family<Labels, Cell>) => void)[] = [];

  constructor(row: MetricRow, make: () => Cell) {
    this.#row = row;
    this.#make = make;
    // What has not happened yet is none, rather than unknown: an alert on the first one would else miss it.
    if (row.labels.length === 0 && row.type !== "gauge") this.at(...([] as unknown as Values<Labels>));
  }

  /** The cell of these labels' values, in the table's order; for what is counted often, to be kept. */
  at(...values: Values<Labels>): Cell {
    const key = values.join("\0");
    const found = this.#cells.get(key);
    if (found !== undefined) return found.cell;
    // What there may be many of comes first; the other labels have few values.
    const [first, ...rest] = values as readonly string[];
    if (first !== undefined && first !== OTHERS && this.#cells.size >= MOST_CELLS) return this.at(...([OTHERS, ...rest] as Values<Labels>));
    const labels = Object.fromEntries(this.#row.labels.map((name, at) => [name, (values as readonly string[])[at] ?? ""]));
    const cell = this.#make();
    this.#cells.set(key, { labels, cell });
    return cell;
  }

  /** Of a gauge: `look` is asked whenever the metrics are, and sets what is to be set. */
  look(look: (family: Family<Labels, Cell>) => void): void {
    this.#looks.push(look);
  }

  snapshot(): Snapshot {
    // What looks may find fewer labels than before: a state that no container is in any more.
    if (this.#looks.length > 0) this.#cells.clear();
    for (const look of this.#looks) look(this);
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
