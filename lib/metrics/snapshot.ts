/** One number of a metric; of a histogram each has a name of its own. */
export type Sample = { metricName?: string; labels: Record<string, string | number>; value: number };

/** The metrics of one process as of one moment, in the form in which `prom-client` puts those of several together. It survives JSON. */
export type Snapshot = {
  name: string;
  type: "counter" | "gauge" | "histogram" | "summary";
  help: string;
  aggregator: string;
  values: Sample[];
}[];
