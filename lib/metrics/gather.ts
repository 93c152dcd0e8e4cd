import { AggregatorRegistry, prometheusContentType } from "prom-client";
import type { Snapshot } from "./snapshot.ts";

/** The metrics of the processes of one berth, as one page. */
export type MetricsAggregator = {
  /** A process is there from now on, until the returned function is called. `ask` resolves with its metrics, or rejects where it does not answer. */
  join(ask: () => Promise<Snapshot>): () => void;
  /** As Prometheus reads it. */
  page(): Promise<string>;
};

export const PAGE_TYPE: string = prometheusContentType;

/**
 * Adds up what several processes count. What one had counted when it was last asked counts on after its end: a total that fell would be taken for a new
 * start by `rate()`, and all that the others counted for new. One that does not answer is taken to be as it was.
 */
export function createMetricsAggregator(): MetricsAggregator {
  const there = new Map<() => Promise<Snapshot>, Snapshot>();
  let gone: Snapshot = [];
  let asking: Promise<string> | undefined;

  const page = async () => {
    await Promise.all(
      [...there.keys()].map(async (ask) => {
        const now = await ask().catch(() => undefined);
        // It may have left meanwhile, with what it had before.
        if (now !== undefined && there.has(ask)) there.set(ask, now.map(measured));
      }),
    );
    return AggregatorRegistry.aggregate([gone, ...there.values()]).metrics();
  };

  return {
    join: (ask) => {
      there.set(ask, []);
      return () => {
        const last = there.get(ask);
        if (last === undefined) return;
        there.delete(ask);
        gone = added([gone, last.filter(isTotal)]);
      };
    },
    // However many ask at the same time, the processes are asked once.
    page: () => (asking ??= page().finally(() => (asking = undefined))),
  };
}

/** What only grows; a gauge of a process that is gone is gone. */
function isTotal({ type }: Snapshot[number]): boolean {
  return type === "counter" || type === "histogram";
}

/** Without what JSON cannot say, such as a mean of nothing. */
function measured(metric: Snapshot[number]): Snapshot[number] {
  return { ...metric, values: metric.values.filter(({ value }) => Number.isFinite(value)) };
}

function added(snapshots: Snapshot[]): Snapshot {
  const metrics = new Map<string, Snapshot[number]>();
  for (const metric of snapshots.flat()) {
    const before = metrics.get(metric.name);
    const values = new Map<string, Snapshot[number]["values"][number]>();
    for (const sample of [...(before?.values ?? []), ...metric.values]) {
      const key = JSON.stringify([sample.metricName, sample.labels]);
      values.set(key, { ...sample, value: sample.value + (values.get(key)?.value ?? 0) });
    }
    metrics.set(metric.name, { ...metric, values: [...values.values()] });
  }
  return [...metrics.values()];
}
