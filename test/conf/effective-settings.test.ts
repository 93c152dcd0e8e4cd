import t from "tap";
import { effectiveSettings } from "../../conf/effective-settings.ts";
import { loadSettingsParser, readSettings } from "../../conf/read-settings.ts";

t.test("each setting names its source: a variable, the file, or nowhere", async (t) => {
  const parse = await loadSettingsParser();
  const read = readSettings({
    env: {
      BERTH_WORKERS: "4",
      BERTH_HOST: "0.0.0.0",
      BERTH_ADMIN_KEY_FILE: "/run/secrets/key",
      GROK_PARAMETERS: '{"dockerSettings":{"proxyRequestTimeout":60000}}',
    },
    file: { path: "berth.yaml", text: "holdLimit: 5\nkubernetes:\n  cvm:\n    nodeSelector:\n      pool: gpu\n", parse },
    readText: () => "a-secret-key",
  });
  const settings = new Map(effectiveSettings(read).map(({ key, value, origin, source }) => [key, { value, origin, source }]));
  t.same(settings.get("workers"), { value: 4, origin: "environment", source: "BERTH_WORKERS" });
  t.same(settings.get("edgeHost"), { value: "0.0.0.0", origin: "default", source: "as host" });
  t.same(settings.get("adminKey"), { value: "***", origin: "environment", source: "BERTH_ADMIN_KEY_FILE" });
  t.same(settings.get("dockerSettings.proxyRequestTimeout"), {
    value: 60_000,
    origin: "environment",
    source: "GROK_PARAMETERS, dockerSettings.proxyRequestTimeout",
  });
  t.same(settings.get("holdLimit"), { value: 5, origin: "file", source: "berth.yaml:1, holdLimit" });
  t.match(settings.get("kubernetes.cvm.nodeSelector"), { origin: "file" });
  t.same(settings.get("credentialsKey"), { value: [], origin: "default", source: "default" });
});
