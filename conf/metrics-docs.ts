import { METRICS, type MetricRow } from "../lib/metrics/table.ts";

const INTRO = `# Metrics

<!-- Written by \`npm run docs\` from lib/metrics/table.ts; a test notices when it differs. -->

\`BERTH_METRICS_PORT=9464\` opens \`http://127.0.0.1:9464/metrics\` for Prometheus. It is a listener of its own, and asks nobody who they are: leave it where
only Prometheus reaches it, or open it with \`BERTH_METRICS_HOST=0.0.0.0\` inside a private network. The images listen so, on port 9464. How to set Prometheus
and Grafana up: [grafana/](../deploy/grafana.md).

Of \`berth serve\` one page tells what all of its processes counted. A role that runs alone (\`berth gateway\`, \`berth control\`, \`berth registry-proxy\`,
\`berth registry\`, \`berth spawner\`) has a page of its own; on one machine each needs its own port. When a process dies, what it had counted at the last
scrape stays in the sums, so that no counter falls; what it counted after that is lost. When all of berth starts anew, counters begin at 0.

No label holds what callers make up: a route is one of ten, a status its first digit, a fault one of berth's codes. A container's name is a label where
noted; more than some hundred containers are counted together as \`(others)\`.

Beside these there are those of every Node process, with the label \`process\` (\`serve\`, \`control\`, \`gateway\`, \`registry-proxy\`, \`registry\`,
\`spawner\`), gateways added up: \`process_cpu_seconds_total\`, \`process_resident_memory_bytes\`, \`process_open_fds\`, \`nodejs_eventloop_lag_p99_seconds\`,
\`nodejs_gc_duration_seconds\`, \`nodejs_heap_size_used_bytes\` and others.

| name | type | labels | |
| --- | --- | --- | --- |
`;

/** The page docs/reference/metrics.md. */
export function metricsPage(): string {
  const rows = Object.values<MetricRow>(METRICS).map(
    ({ name, type, labels, says }) => `| ${[`\`${name}\``, type, labels.map((label) => `\`${label}\``).join(", "), says].join(" | ")} |\n`,
  );
  return INTRO + rows.join("");
}
