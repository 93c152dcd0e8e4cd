import t from "tap";
import { readSettings } from "../../conf/read-settings.ts";
import { calloutOptions, calloutSettingsFault } from "../../processes/listeners.ts";
import { openLog } from "../../lib/log.ts";

const read = (env: Record<string, string>) => readSettings({ env }).settings;
const SECRET = "s".repeat(32);

t.test("the listener for callouts is off by default, and beyond loopback needs a secret", async (t) => {
  const log = openLog({ level: "silent", name: "test" });
  t.equal(calloutOptions(read({}), log), undefined);
  t.match(calloutOptions(read({ BERTH_CALLOUT_PORT: "8082", BERTH_HOST: "0.0.0.0" }), log), { host: "127.0.0.1", port: 8082, logs: undefined });
  const rows: [env: Record<string, string>, fault: boolean][] = [
    [{ BERTH_CALLOUT_HOST: "0.0.0.0" }, true],
    [{ BERTH_CALLOUT_HOST: "0.0.0.0", BERTH_CALLOUT_SECRET: SECRET }, false],
    [{ BERTH_CALLOUT_LOG_PORT: "8083", BERTH_WORKERS: "2" }, true],
    [{ BERTH_CALLOUT_LOG_PORT: "8083" }, false],
  ];
  for (const [env, isFault] of rows)
    t.equal(calloutSettingsFault(read({ BERTH_CALLOUT_PORT: "8082", ...env })) !== undefined, isFault, Object.keys(env).join());
  t.ok(calloutSettingsFault(read({ BERTH_CALLOUT_LOG_PORT: "8083" })));
  t.throws(() => calloutOptions(read({ BERTH_CALLOUT_PORT: "8082", BERTH_CALLOUT_HOST: "0.0.0.0" }), log), { code: "SETTINGS_INVALID" });
});
