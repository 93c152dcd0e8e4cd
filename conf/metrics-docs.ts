import { METRICS, type MetricRow } from "../lib/metrics/table.ts";

const INTRO = `# Metrics

<!-- Written by \`npm run docs\` from lib/metrics/table.ts; a test fails when it differs. -->

This page is for operators. \`BERTH_METRICS_PORT=9464\` opens \`http://127.0.0.1:9464/metrics\` for Prometheus. It is a separate listener without
authentication: keep it where only Prometheus reaches it, or open it with \`BERTH_METRICS_HOST=0.0.0.0\` inside a private network. The images listen that way, on
port 9464. To set up Prometheus and Grafana, see [dashboard and alerts](../deploy/grafana.md).

One page of \`berth serve\` has the counts of all its processes. A process that runs alone (\`berth gateway\`, \`berth control\`, \`berth registry-proxy\`,
\`berth registry\`, \`berth spawner\`) has its own page, and needs its own port on a shared machine. If a process dies, its counts up to the last scrape stay in
the sums, so that no counter falls; later counts are lost. A restart of berth sets counters to 0.

No label has a value that callers choose: a route is one of ten, a status its first digit, a fault one of berth's codes. Some metrics have container names as
labels; beyond some hundred containers, the rest is counted as \`(others)\`.

There are also the metrics of every Node process, with the label \`process\` (\`serve\`, \`control\`, \`gateway\`, \`registry-proxy\`, \`registry\`,
\`spawner\`), summed over gateways: \`process_cpu_seconds_total\`, \`process_resident_memory_bytes\`, \`process_open_fds\`,
\`nodejs_eventloop_lag_p99_seconds\`, \`nodejs_gc_duration_seconds\`, \`nodejs_heap_size_used_bytes\` and others.

| name | type | labels | meaning |
| --- | --- | --- | --- |
`;

/** The page docs/reference/metrics.md. */
export function metricsPage(): string {
  const rows = Object.values<MetricRow>(METRICS).map(
    ({ name, type, labels, says }) => `| ${[`\`${name}\``, type, labels.map((label) => `\`${label}\``).join(", "), says].join(" | ")} |\n`,
  );
  return INTRO + rows.join("");
}
