import { Count, Spread } from "./cells.ts";
import { Family } from "./family.ts";
import type { Snapshot } from "./snapshot.ts";
import { METRICS, type MetricRow } from "./table.ts";

type CellOf<Row> = Row extends { type: "histogram" } ? Spread : Count;
type Families = { readonly [Name in keyof typeof METRICS]: Family<(typeof METRICS)[Name]["labels"], CellOf<(typeof METRICS)[Name]>> };

/** What one process counts. Each metric has a cell for each combination of its labels' values: `metrics.requests.at("proxy", "2xx")`. */
export type Metrics = Families & {
  /** As of now, for whoever puts those of all processes together. */
  snapshot(): Snapshot;
};

export function openMetrics(): Metrics {
  const families = Object.entries<MetricRow>(METRICS).map(
    ([key, row]) => [key, new Family(row, () => (row.bounds === undefined ? new Count() : new Spread(row.bounds)))] as const,
  );
  return {
    ...(Object.fromEntries(families) as unknown as Families),
    snapshot: () => families.flatMap(([, family]) => family.snapshot()),
  };
}
