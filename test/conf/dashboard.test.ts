import { execFile } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { tempFolder } from "../fixtures/temp-folder.ts";

const ROOT = join(import.meta.dirname, "../..");

/**
 * Grafana's own model of a dashboard, as it generates it for its clients (`@grafana/schema`). A panel's own options and those of its fields are of any type there,
 * so they are checked by those of time series; a query is one of Prometheus. `Plain` makes texts and numbers of enums, as JSON has them.
 */
const CHECKED = `import type { Dashboard, FieldConfig, Panel, RowPanel } from "@grafana/schema";
import type { FieldConfig as CustomFields, Options } from "@grafana/schema/dist/types/raw/composable/timeseries/panelcfg/x/types.gen";
type Plain<T> = T extends string ? \`\${T}\` : T extends number ? (\`\${T}\` extends \`\${infer N extends number}\` ? N : T) : T extends object ? { [K in keyof T]: Plain<T[K]> } : T;
type Query = { refId: string; expr: string; legendFormat: string; format?: "time_series" | "table" | "heatmap"; instant?: boolean };
type TimeSeries = Omit<Plain<Panel>, "type" | "options" | "fieldConfig" | "targets" | "datasource"> & {
  type: "timeseries";
  title: string;
  datasource: { type: "prometheus"; uid: string };
  options: Plain<Options>;
  fieldConfig: { defaults: Omit<Plain<FieldConfig>, "custom"> & { custom?: Plain<CustomFields> }; overrides: [] };
  targets: Query[];
};
type Row = Omit<Plain<RowPanel>, "panels"> & { panels: [] };
type Variable = NonNullable<NonNullable<Plain<Dashboard>["templating"]>["list"]>[number];
export const dashboard: Omit<Plain<Dashboard>, "panels" | "templating"> & { panels: (TimeSeries | Row)[]; templating: { list: Variable[] } } = `;

/** The compiler's complaints about a dashboard; empty if it is one. */
async function complaintsOf(folder: string, json: string): Promise<string> {
  writeFileSync(join(folder, "dashboard.ts"), CHECKED + json);
  const paths = {
    "@grafana/schema": [join(ROOT, "node_modules/@grafana/schema/dist/types/index.d.ts")],
    "@grafana/schema/*": [join(ROOT, "node_modules/@grafana/schema/*")],
  };
  const compilerOptions = { strict: true, noEmit: true, skipLibCheck: true, module: "preserve", moduleResolution: "bundler", types: [], paths };
  writeFileSync(join(folder, "tsconfig.json"), JSON.stringify({ compilerOptions, files: ["dashboard.ts"] }));
  return new Promise((resolve) => {
    // Without the options of the test runner, which the compiler does not understand.
    execFile("sh", ["-c", 'unset NODE_OPTIONS; exec "$0" -p "$1"', join(ROOT, "node_modules/.bin/tsc"), folder], (_error, stdout, stderr) =>
      resolve(stdout + stderr),
    );
  });
}

t.test("the dashboard is one of Grafana's model", async (t) => {
  const json = readFileSync(join(ROOT, "conf/grafana/berth.json"), "utf8");
  t.equal(await complaintsOf(tempFolder(t), json), "");
});

t.test("a misspelt key or a value that Grafana does not have is found", async (t) => {
  const json = readFileSync(join(ROOT, "conf/grafana/berth.json"), "utf8");
  const folder = tempFolder(t);
  for (const [right, wrong] of [
    ['"placement": "bottom"', '"placement": "below"'],
    ['"showPoints": "never"', '"showPoint": "never"'],
    ['"refresh": 2', '"refresh": 7'],
    ['"gridPos": {', '"gridPosition": {'],
  ] as const) {
    t.not(json, json.replace(right, wrong), wrong);
    t.match(await complaintsOf(folder, json.replace(right, wrong)), /error TS\d+/, wrong);
  }
});

t.test("panels do not overlap, and each has an id of its own", async (t) => {
  type Place = { x: number; y: number; w: number; h: number };
  const { panels } = JSON.parse(readFileSync(join(ROOT, "conf/grafana/berth.json"), "utf8")) as {
    panels: { id: number; title: string; gridPos: Place }[];
  };
  t.equal(new Set(panels.map(({ id }) => id)).size, panels.length);
  for (const { gridPos, title } of panels) t.ok(gridPos.x >= 0 && gridPos.x + gridPos.w <= 24, `${title} is within the 24 columns`);
  const overlap = (one: Place, other: Place) =>
    one.x < other.x + other.w && other.x < one.x + one.w && one.y < other.y + other.h && other.y < one.y + one.h;
  const pairs = panels.flatMap((one, at) => panels.slice(at + 1).filter((other) => overlap(one.gridPos, other.gridPos)).map((other) => `${one.title} and ${other.title}`)); // prettier-ignore
  t.same(pairs, []);
});
