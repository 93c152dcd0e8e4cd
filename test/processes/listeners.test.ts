import t from "tap";
import { readSettings } from "../../conf/read-settings.ts";
import { calloutOptions, calloutSettingsFault, oidcSettingsFault } from "../../processes/listeners.ts";
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

t.test("settings of the sign-in provider that allow everyone by omission, or send tokens unencrypted, are refused", async (t) => {
  const ISSUER = { BERTH_OIDC_ISSUER: "https://login.example.com", BERTH_OIDC_CLIENT_ID: "berth", BERTH_OIDC_ALLOWED_GROUPS: "lab" };
  const rows: [env: Record<string, string>, fault: RegExp | undefined][] = [
    [{}, undefined],
    [ISSUER, undefined],
    [{ ...ISSUER, BERTH_OIDC_ALLOWED_GROUPS: "*" }, undefined],
    [{ ...ISSUER, BERTH_OIDC_ISSUER: "http://localhost:5556/dex" }, undefined],
    [{ ...ISSUER, BERTH_OIDC_ISSUER: "http://[::1]:5556" }, undefined],
    [{ ...ISSUER, BERTH_OIDC_ISSUER: "http://login.example.com" }, /unencrypted/],
    [{ ...ISSUER, BERTH_OIDC_ISSUER: "https://login.example.com?tenant=1" }, /no query/],
    [{ ...ISSUER, BERTH_OIDC_ALLOWED_GROUPS: "" }, /BERTH_OIDC_ALLOWED_GROUPS is not/],
    [{ ...ISSUER, BERTH_OIDC_CLIENT_ID: "" }, /BERTH_OIDC_CLIENT_ID is not/],
    [{ BERTH_OIDC_CLIENT_SECRET: "hush-hush" }, /without BERTH_OIDC_ISSUER/],
    [{ ...ISSUER, BERTH_DIRECTORY: "datagrok", DATAGROK_URL: "https://grok.example.com/api" }, /users sign in at the Datagrok server/],
  ];
  for (const [env, message] of rows) {
    const fault = oidcSettingsFault(read(env));
    if (message === undefined) t.equal(fault, undefined, JSON.stringify(env));
    else t.match(fault, { code: "SETTINGS_INVALID", message }, JSON.stringify(env));
    t.notMatch(fault?.message ?? "", "hush-hush");
  }
});
