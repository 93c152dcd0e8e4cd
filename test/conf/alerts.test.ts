import { execFile } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { parse, stringify } from "yaml";
import { openMetrics } from "../../lib/metrics/open-metrics.ts";
import { tempFolder } from "../fixtures/temp-folder.ts";

const ROOT = join(import.meta.dirname, "../..");
const ALERTS = join(ROOT, "conf/grafana/alerts.yaml");
const RUNBOOKS = "docs/deploy/alerts.md";

type AlertRule = { alert: string; labels?: { severity?: string }; annotations?: Record<string, string> };
const { groups } = parse(readFileSync(ALERTS, "utf8")) as { groups: { rules: AlertRule[] }[] };
const rules = groups.flatMap((group) => group.rules);

/** Runs Prometheus's own tool. `code` 0: all that was asserted holds. */
const promtool = (...args: string[]) =>
  new Promise<{ code: number; output: string }>((resolve) => {
    execFile("promtool", args, (error, stdout, stderr) => resolve({ code: error ? 1 : 0, output: stdout + stderr }));
  });

const done = (instance: string) => `berth_reconcile_seconds_count{instance="${instance}",outcome="done"}`;
const failed = (instance: string) => `berth_reconcile_seconds_count{instance="${instance}",outcome="failed"}`;
const leading = (instance: string) => `berth_control_leading{instance="${instance}"}`;

/** Each scraped once a minute for 40 minutes; `stuck` are the instances for which BerthReconcileStuck fires then. */
const CASES: Record<string, { series: Record<string, string>; stuck: string[] }> = {
  "one control process that reconciles": { series: { [done("control")]: "0+2x40" }, stuck: [] },
  "one that stopped": { series: { [done("control")]: "0+2x10 20x30" }, stuck: ["control"] },
  "one that never succeeded": { series: { [failed("control")]: "0+2x40" }, stuck: ["control"] },
  "one that fails now and then": { series: { [done("control")]: "0+2x40", [failed("control")]: "0+1x40" }, stuck: [] },
  "gateways and a registry proxy": {
    series: { 'berth_up_to_date{instance="gateway"}': "1x40", 'berth_requests_total{instance="gateway"}': "0+9x40", [done("control")]: "0+2x40" },
    stuck: [],
  },
  "a leader and a standby that led before": {
    series: { [done("a")]: "0+2x40", [leading("a")]: "1x40", [done("b")]: "0+2x10 20x30", [leading("b")]: "1x10 0x30" },
    stuck: [],
  },
  "a leader that stopped, and a standby": {
    series: { [done("a")]: "0+2x10 20x30", [leading("a")]: "1x40", [leading("b")]: "0x40" },
    stuck: ["a"],
  },
};

t.test("Prometheus takes the alerts", async (t) => {
  t.match(await promtool("check", "rules", ALERTS), { code: 0, output: /SUCCESS/ });
});

t.test("a process that does not reconcile has no series of it", async (t) => {
  const names = (await openMetrics().snapshot()).map(({ name }) => name);
  t.notOk(names.includes("berth_reconcile_seconds"));
});

t.test("BerthReconcileStuck fires for what should reconcile and does not, and for no gateway or standby", async (t) => {
  const stuckRule = rules.find(({ alert }) => alert === "BerthReconcileStuck");
  const tests = Object.entries(CASES).map(([name, { series, stuck }]) => ({
    name,
    interval: "1m",
    input_series: Object.entries(series).map(([one, values]) => ({ series: one, values })),
    alert_rule_test: [
      {
        eval_time: "40m",
        alertname: "BerthReconcileStuck",
        exp_alerts: stuck.map((instance) => ({ exp_labels: { instance, ...stuckRule?.labels }, exp_annotations: stuckRule?.annotations })),
      },
    ],
  }));
  const file = join(tempFolder(t), "alerts.test.yaml");
  writeFileSync(file, stringify({ rule_files: [ALERTS], evaluation_interval: "1m", tests }));
  const { code, output } = await promtool("test", "rules", file);
  t.equal(code, 0, output);
});

t.test("each alert has a severity, a summary, and a section of the runbook, which has no others", async (t) => {
  const page = readFileSync(join(ROOT, RUNBOOKS), "utf8");
  const sections = [...page.matchAll(/^## (.+)$/gm)].map(([, title]) => title);
  t.same(
    sections,
    rules.map(({ alert }) => alert),
  );
  for (const { alert, labels, annotations } of rules) {
    t.match(labels, { severity: /^(?:critical|warning|info)$/ }, alert);
    t.match(annotations, { summary: /^[^a-z]|^berth /, runbook_url: `${RUNBOOKS}#${alert.toLowerCase()}` }, alert);
  }
});
