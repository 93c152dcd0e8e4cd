import t from "tap";
import { printSettings, settingsJson } from "../../cli/config.ts";
import { loadSettingsParser, readSettings } from "../../conf/read-settings.ts";
import { rowsOf } from "../../conf/row.ts";
import { SETTINGS } from "../../conf/settings.ts";

/** For each secret, the first that it takes. */
const SAMPLES = ["s3cr3t-value", "5ec4e7".repeat(11).slice(0, 64)];

t.test("every setting is printed with its value and where that came from, and no secret", async (t) => {
  const secrets = rowsOf(SETTINGS).flatMap(([, row]) => (row.secret ? [[row.env[0], SAMPLES.find((one) => row.parse.read(one) !== undefined)]] : []));
  t.ok(secrets.length >= 5);
  const env = { ...Object.fromEntries(secrets), BERTH_WORKERS: "4", DATAGROK_URL: `https://me:${SAMPLES[0]}@example.org/api` } as Record<
    string,
    string
  >;
  const printed = printSettings(readSettings({ env, file: { path: "berth.yaml", text: "holdLimit: 5\n", parse: await loadSettingsParser() } }));
  const lines = printed.trimEnd().split("\n");
  t.equal(lines.length, rowsOf(SETTINGS).length);
  t.ok(lines.some((line) => /^workers = 4 +# BERTH_WORKERS$/.test(line)));
  t.ok(lines.some((line) => /^holdLimit = 5 +# berth.yaml:1, holdLimit$/.test(line)));
  t.ok(lines.some((line) => /^edgePort = 8080 +# default$/.test(line)));
  t.ok(lines.some((line) => /^adminKey = \*\*\* +# BERTH_ADMIN_KEY$/.test(line)));
  const json = settingsJson(readSettings({ env }));
  t.same(
    json.find(({ key }) => key === "workers"),
    { key: "workers", value: 4, source: "BERTH_WORKERS" },
  );
  for (const sample of SAMPLES) t.notOk((printed + JSON.stringify(json)).includes(sample));
});

t.test("a secret that is not set says so", async (t) => {
  t.match(printSettings(readSettings({ env: {} })), /^adminKey = \(unset\) +# default$/m);
  t.match(printSettings(readSettings({ env: {} })), /^credentialsKey = \(unset\) +# default$/m);
});
