import { readFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { parse } from "yaml";
import { openMetrics } from "../../../lib/metrics/open-metrics.ts";
import { METRICS, type MetricRow } from "../../../lib/metrics/table.ts";
import { openNodeMetrics } from "../../../lib/metrics/process-metrics.ts";

const FOLDER = join(import.meta.dirname, "../../../conf/grafana");
const NAME = /\b(?:berth|process|nodejs)_[a-z0-9_]+/g;
const SELECTOR = /\b((?:berth|process|nodejs)_[a-z0-9_]+)\{([^}]*)\}/g;
const GROUPED = /\bby \(([^)]*)\)/g;
/** What Prometheus adds to all that it scrapes. */
const OF_PROMETHEUS = ["instance", "job", "le"];

type Panel = { title: string; targets?: { expr: string; legendFormat: string }[] };

/** The labels of every name that may be on the page; a histogram has three. */
async function metricLabels(): Promise<Map<string, readonly string[]>> {
  const node = await openNodeMetrics("test").snapshot();
  return new Map<string, readonly string[]>([
    ...Object.values<MetricRow>(METRICS).flatMap(({ name, type, labels }) =>
      (type === "histogram" ? ["_bucket", "_sum", "_count"] : [""]).map((end) => [name + end, labels] as const),
    ),
    ...node.map(({ name }) => [name, ["process"]] as const),
  ]);
}

function namesIn(expression: string): string[] {
  // Not what stands in quotes.
  return expression.replaceAll(/"[^"]*"/g, '""').match(NAME) ?? [];
}

t.test("the dashboard and the alerts name nothing but what is on the page, with its labels", async (t) => {
  const names = await metricLabels();
  const { panels, templating } = JSON.parse(readFileSync(join(FOLDER, "berth.json"), "utf8")) as {
    panels: Panel[];
    templating: { list: { query: string | { query: string } }[] };
  };
  const { groups } = parse(readFileSync(join(FOLDER, "alerts.yaml"), "utf8")) as { groups: { rules: { alert: string; expr: string }[] }[] };
  const variables = templating.list.flatMap(({ query }) => (typeof query === "string" ? [] : [query.query]));
  const queried = [
    ...panels.flatMap(({ title, targets = [] }) => targets.map(({ expr }) => [title, expr] as const)),
    ...groups.flatMap(({ rules }) => rules.map(({ alert, expr }) => [alert, expr] as const)),
    ...variables.map((query) => ["a variable", query] as const),
  ];
  t.ok(queried.length > 40);
  for (const [title, expression] of queried) {
    const used = namesIn(expression).filter((name) => name !== "process");
    t.ok(used.length > 0, title);
    for (const name of used) t.ok(names.has(name), `${title}: ${name}`);
    const allowed = new Set([...OF_PROMETHEUS, ...used.flatMap((name) => names.get(name) ?? [])]);
    for (const [, name = "", selectors = ""] of expression.matchAll(SELECTOR))
      for (const [, label = ""] of selectors.matchAll(/(\w+)\s*[=!]/g))
        t.ok(OF_PROMETHEUS.includes(label) || names.get(name)?.includes(label), `${title}: ${name}{${label}}`);
    for (const [, labels = ""] of expression.matchAll(GROUPED))
      for (const label of labels.split(",")) t.ok(allowed.has(label.trim()), `${title}: by ${label}`);
  }
  const shown = queried.map(([, expression]) => expression).join("\n");
  const unseen = Object.values<MetricRow>(METRICS).filter(({ name }) => !shown.includes(name));
  t.same(
    unseen.map(({ name }) => name),
    [],
    "and nothing that berth counts is left out",
  );
});

t.test("whatever labels hold, a metric has no more series than it may; the rest is counted together", async (t) => {
  const metrics = openMetrics();
  for (let i = 0; i < 6_000; i++) metrics.containerRequests.at(`c${i}`, "2xx").add();
  const [page] = (await metrics.snapshot()).filter(({ name }) => name === "berth_container_requests_total");
  t.ok((page?.values.length ?? 0) <= 5_001);
  t.equal(
    page?.values.reduce((sum, { value }) => sum + value, 0),
    6_000,
  );
});
