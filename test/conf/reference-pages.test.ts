import { readFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { ecsPolicy } from "../../conf/ecs-policy.ts";
import { rowsOf } from "../../conf/row.ts";
import { SETTINGS } from "../../conf/settings.ts";
import { machinesPage } from "../../conf/machine-page.ts";
import { faultsPage, metricsPage, settingsPage, settingsSchema } from "../../conf/reference-pages.ts";

const conf = join(import.meta.dirname, "../../conf");
const reference = join(import.meta.dirname, "../../docs/reference");

t.test("what is generated from tables is in step with them (else: npm run docs)", async (t) => {
  t.equal(readFileSync(join(reference, "settings.md"), "utf8"), settingsPage());
  t.equal(readFileSync(join(conf, "berth.schema.json"), "utf8"), settingsSchema());
  t.equal(readFileSync(join(reference, "metrics.md"), "utf8"), metricsPage());
  t.equal(readFileSync(join(reference, "faults.md"), "utf8"), faultsPage());
  t.equal(readFileSync(join(conf, "../docs/contributing/exchange.md"), "utf8"), machinesPage());
  t.strictSame(JSON.parse(readFileSync(join(conf, "ecs/policy.json"), "utf8")), ecsPolicy());
});

t.test("no variable sets two settings", async (t) => {
  const names = rowsOf(SETTINGS).flatMap(([, row]) => row.env);
  t.same(
    names.filter((name, at) => names.indexOf(name) !== at),
    [],
  );
});

t.test("every default is a value that its own parser allows", async (t) => {
  for (const [key, row] of rowsOf(SETTINGS)) {
    if (row.default !== undefined) t.same(row.parse.read(row.default), row.default, key);
  }
});

t.test("`sameAs` names a setting", async (t) => {
  const rows = new Map(rowsOf(SETTINGS));
  for (const [key, row] of rows) if (row.sameAs !== undefined) t.same(row.default, rows.get(row.sameAs)?.default, key);
});
