import type { SeriesJson } from "../../../api/schemas-series.ts";
import type { ChartProps } from "./chart-props.ts";
import { Chart } from "./chart.tsx";
import { coresText, countText, durationText, memoryText, rateText } from "./units.ts";

type ChartOf = (series: SeriesJson) => ChartProps;

const NO_RESOURCES = "No container ran in this time, or the driver does not report its use.";

/** The charts of a container and of the whole server. */
const SERIES_CHARTS = {
  requests: ({ time, requests, errors }) => ({
    title: "Requests per second",
    time,
    format: rateText,
    empty: "No requests in this time.",
    lines: [
      { label: "Requests", look: "main", values: requests },
      { label: "Status 5xx", look: "bad", values: errors },
    ],
  }),
  latency: ({ time, latencyMedian, latencyP95 }) => ({
    title: "Latency",
    time,
    format: durationText,
    empty: "No requests in this time.",
    lines: [
      { label: "Median", look: "main", values: latencyMedian },
      { label: "p95", look: "second", values: latencyP95 },
    ],
  }),
  starts: ({ time, starts, failedStarts }) => ({
    title: "Cold starts",
    time,
    format: countText,
    steps: "whole",
    columns: true,
    empty: "No starts in this time.",
    lines: [
      { label: "Started", look: "main", values: starts },
      { label: "Failed", look: "bad", values: failedStarts },
    ],
  }),
  waiting: ({ time, waitSeconds }) => ({
    title: "Waiting for starts",
    time,
    format: (seconds) => durationText(seconds * 1_000),
    columns: true,
    empty: "No request waited for a start in this time.",
    lines: [{ label: "Waited together", look: "main", values: waitSeconds }],
  }),
  memory: ({ time, memory, memoryReserved }) => ({
    title: "Memory",
    time,
    format: memoryText,
    steps: "binary",
    empty: NO_RESOURCES,
    lines: [
      { label: "Used", look: "main", values: memory },
      { label: "Reserved", look: "reserved", values: memoryReserved },
    ],
  }),
  cpu: ({ time, cpu, cpuReserved }) => ({
    title: "CPU",
    time,
    format: coresText,
    empty: NO_RESOURCES,
    lines: [
      { label: "Used", look: "main", values: cpu },
      { label: "Reserved", look: "reserved", values: cpuReserved },
    ],
  }),
  connections: ({ time, connections }) => ({
    title: "Open requests and sockets",
    time,
    format: countText,
    steps: "whole",
    empty: "No open requests in this time.",
    lines: [{ label: "Open", look: "main", values: connections }],
  }),
} as const satisfies Record<string, ChartOf>;

export function SeriesCharts({
  series,
  charts,
  isLoading,
}: {
  series: SeriesJson;
  charts: readonly (keyof typeof SERIES_CHARTS)[];
  isLoading: boolean;
}) {
  return (
    <div class="charts" aria-busy={isLoading}>
      {charts.map((name) => (
        <Chart key={name} {...SERIES_CHARTS[name](series)} />
      ))}
    </div>
  );
}
