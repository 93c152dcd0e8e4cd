import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { type FaultCode, FAULTS } from "../lib/fault.ts";
import { type MetricRow, METRICS } from "../lib/metrics/table.ts";
import { ecsPolicy, ecsShellPolicy, ecsShellRole } from "./ecs-policy.ts";
import { EXPLAINED_FAULTS } from "./explained-faults.ts";
import { FILE_SUFFIX, SETTINGS_FILE, SETTINGS_FILE_NAME } from "./read-settings.ts";
import { rowsOf, type SettingRow } from "./row.ts";
import { SETTINGS } from "./settings.ts";

const SETTINGS_INTRO = `# Settings

<!-- Written by \`npm run docs\` from conf/settings.ts; a test fails when it differs. -->

This page is for administrators. Set each setting as a variable or, under its key, in \`${SETTINGS_FILE}\` in the working folder (or in the file that
\`${SETTINGS_FILE_NAME}\` names). A variable overrides the file; an empty one counts as unset. Dots are nesting: \`dockerSettings.proxyRequestTimeout\` is

\`\`\`yaml
# yaml-language-server: $schema=conf/berth.schema.json
dockerSettings:
  proxyRequestTimeout: 60000
\`\`\`

Settings that begin with \`dockerSettings\` or \`queueSettings\` can also be in the JSON of \`GROK_PARAMETERS\`, which single variables override; berth ignores its other
keys. Several variables of one row are aliases: set one. \`berth config\` prints all values, and where each comes from.

A secret can also be a file, as Docker and Kubernetes mount theirs: its variable with \`${FILE_SUFFIX}\` at its end names the file
(\`BERTH_ADMIN_KEY${FILE_SUFFIX}=/run/secrets/admin-key\`). berth reads it at its start, without surrounding white space.

| key | variables | default | values | meaning |
| --- | --- | --- | --- | --- |
`;

/** The page docs/reference/settings.md. */
export function settingsPage(): string {
  return (
    SETTINGS_INTRO +
    rowsOf(SETTINGS)
      .map(([key, row]) => `| ${[code(key), row.env.map(code).join("<br>"), fallback(row), row.parse.allowed, description(row)].join(" | ")} |\n`)
      .join("")
  );
}

/** JSON Schema of the settings file, conf/berth.schema.json. */
export function settingsSchema(): string {
  return `${JSON.stringify({ $schema: "http://json-schema.org/draft-07/schema#", title: "berth.yaml", ...objectOf(Object.entries(SETTINGS)) }, null, 2)}\n`;
}

function objectOf(entries: readonly [string, unknown][]): Record<string, unknown> {
  const properties = entries.map(([name, value]): [string, unknown] => {
    const rows = rowsOf({ [name]: value as object });
    const [only] = rows;
    if (rows.length === 1 && only?.[0] === name) return [name, { description: describe(only[1]), ...only[1].parse.schema }];
    return [name, objectOf(Object.entries(value as object))];
  });
  return { type: "object", additionalProperties: false, properties: Object.fromEntries(properties) };
}

function describe(row: SettingRow<unknown>): string {
  return `${row.description}.`;
}

function description(row: SettingRow<unknown>): string {
  return `${row.description}${row.secret ? "; a secret, never printed" : ""}`;
}

function fallback(row: SettingRow<unknown>): string {
  if (row.sameAs !== undefined) return `that of ${code(row.sameAs)}`;
  if (row.default === undefined || row.default === "") return "";
  if (typeof row.default === "boolean") return row.default ? "on" : "off";
  if (Array.isArray(row.default)) return row.default.length === 0 ? "none" : row.default.map(String).map(code).join(", ");
  return code(typeof row.default === "string" ? row.default : JSON.stringify(row.default));
}

function code(text: string): string {
  return `\`${text}\``;
}

const METRICS_INTRO = `# Metrics

<!-- Written by \`npm run docs\` from lib/metrics/table.ts; a test fails when it differs. -->

This page is for operators. \`BERTH_METRICS_PORT=9464\` opens \`http://127.0.0.1:9464/metrics\` for Prometheus. It is a separate listener without
authentication: keep it where only Prometheus reaches it, or open it with \`BERTH_METRICS_HOST=0.0.0.0\` inside a private network. The images listen that way, on
port 9464. To set up Prometheus and Grafana, see [dashboard and alerts](../deploy/grafana.md).

One page of \`berth serve\` has the counts of all its processes. A process that runs alone (\`berth gateway\`, \`berth control\`, \`berth registry-proxy\`,
\`berth registry\`, \`berth spawner\`) has its own page, and needs its own port on a shared machine. If a process dies, its counts up to the last scrape stay in
the sums, so that no counter falls; later counts are lost. A restart of berth sets counters to 0.

No label has a value that callers choose: a route is one of twelve, a status its first digit, a fault one of berth's codes. Some metrics have container names as
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
    ({ name, type, labels, says: description }) =>
      `| ${[`\`${name}\``, type, labels.map((label) => `\`${label}\``).join(", "), description].join(" | ")} |\n`,
  );
  return METRICS_INTRO + rows.join("");
}

const FAULTS_INTRO = `# Every fault

<!-- Written by \`npm run docs\` from lib/fault.ts, conf/explained-faults.ts and drivers/faults.ts; a test fails when it differs. -->

This page is for everybody who gets an error from berth. It lists the faults that berth itself answers, by the status line that a client sees. berth forwards a
container's own responses unchanged. The body of a fault has \`datagrok-error\`, or below the API \`"#type":"ApiError"\`, with one sentence. A WebSocket on
\`proxy-ws\` is closed with that sentence. By symptom: [troubleshooting](../troubleshooting.md).

The code is in the access log (\`fault\`) and in \`berth_faults_total\`. Faults of the command line have a status too, which nothing sends.

| response | code | meaning | what to do |
| --- | --- | --- | --- |
`;

/** The page docs/reference/faults.md. */
export function faultsPage(): string {
  const codes = (Object.keys(FAULTS) as FaultCode[]).toSorted((one, other) => FAULTS[one][0] - FAULTS[other][0]);
  return FAULTS_INTRO + codes.map(row).join("");
}

function row(code: FaultCode): string {
  const [status, reason] = FAULTS[code];
  const { means, todo } = EXPLAINED_FAULTS[code];
  return `| ${[`${status} ${reason}`, `\`${code}\``, means, todo].join(" | ")} |\n`;
}

/** Every generated file, by its path from the root. */
async function generatedFiles(): Promise<Record<string, string>> {
  const [{ correctnessPage }, { driversPage }, { commandsPage }, { containerSchema }, { machinesPage }, { helmSchema }, { brokenPackagesPage }] =
    await Promise.all([
      import("../test/correctness/page.ts"),
      import("../test/drivers/conformance/page.ts"),
      import("../cli/commands-page.ts"),
      import("../control/packages/publish/container-json.ts"),
      import("./machine-page.ts"),
      import("./helm-schema.ts"),
      import("../test/program/broken-packages/page.ts"),
    ]);
  return {
    "conf/berth.schema.json": settingsSchema(),
    "conf/helm/values.schema.json": helmSchema(),
    "conf/ecs/policy.json": `${JSON.stringify(ecsPolicy(), null, 2)}\n`,
    "conf/ecs/policy-shell.json": `${JSON.stringify(ecsShellPolicy(), null, 2)}\n`,
    "conf/ecs/shell-role.json": `${JSON.stringify(ecsShellRole(), null, 2)}\n`,
    "conf/container.schema.json": `${JSON.stringify(containerSchema(), null, 2)}\n`,
    "docs/broken-packages.md": brokenPackagesPage(),
    "docs/contributing/exchange.md": machinesPage(),
    "docs/reference/cli.md": await commandsPage(),
    "docs/reference/correctness.md": correctnessPage(),
    "docs/reference/drivers.md": driversPage(),
    "docs/reference/faults.md": faultsPage(),
    "docs/reference/metrics.md": metricsPage(),
    "docs/reference/settings.md": settingsPage(),
  };
}

/** `npm run docs` */
if (import.meta.main) for (const [path, text] of Object.entries(await generatedFiles())) writeFileSync(join(import.meta.dirname, "..", path), text);
