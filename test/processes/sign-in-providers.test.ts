import t from "tap";
import { effectiveSettings } from "../../conf/effective-settings.ts";
import { loadSettingsParser, readSettings } from "../../conf/read-settings.ts";
import { configuredProviders, oidcSettingsFault } from "../../processes/sign-in-providers.ts";

const read = (env: Record<string, string>) => readSettings({ env }).settings;
const FIRST = { BERTH_OIDC_ISSUER: "https://login.example.com", BERTH_OIDC_CLIENT_ID: "berth", BERTH_OIDC_ALLOWED_GROUPS: "lab" };

t.test("settings of the sign-in provider that allow everyone by omission, or send tokens unencrypted, are refused", async (t) => {
  const rows: [env: Record<string, string>, fault: RegExp | undefined][] = [
    [{}, undefined],
    [FIRST, undefined],
    [{ ...FIRST, BERTH_OIDC_ALLOWED_GROUPS: "*" }, undefined],
    [{ ...FIRST, BERTH_OIDC_ISSUER: "http://localhost:5556/dex" }, undefined],
    [{ ...FIRST, BERTH_OIDC_ISSUER: "http://[::1]:5556" }, undefined],
    [{ ...FIRST, BERTH_OIDC_ISSUER: "http://login.example.com" }, /unencrypted/],
    [{ ...FIRST, BERTH_OIDC_ISSUER: "https://login.example.com?tenant=1" }, /no query/],
    [{ ...FIRST, BERTH_OIDC_ALLOWED_GROUPS: "" }, /BERTH_OIDC_ALLOWED_GROUPS is not/],
    [{ ...FIRST, BERTH_OIDC_CLIENT_ID: "" }, /BERTH_OIDC_CLIENT_ID is not/],
    [{ BERTH_OIDC_CLIENT_SECRET: "hush-hush" }, /without BERTH_OIDC_ISSUER/],
    [{ ...FIRST, BERTH_DIRECTORY: "datagrok", DATAGROK_URL: "https://grok.example.com/api" }, /users sign in at the Datagrok server/],
  ];
  for (const [env, message] of rows) {
    const fault = oidcSettingsFault(read(env));
    if (message === undefined) t.equal(fault, undefined, JSON.stringify(env));
    else t.match(fault, { code: "SETTINGS_INVALID", message }, JSON.stringify(env));
    t.notMatch(fault?.message ?? "", "hush-hush");
  }
});

const PARTNERS = { id: "partners", issuer: "https://partners.example", clientId: "berth", allowedGroups: ["*"], clientSecret: "hush-hush" };
const listed = (...entries: object[]) => ({ BERTH_OIDC_PROVIDERS: JSON.stringify(entries) });

t.test("further providers are a list, each with fields as the first one's settings", async (t) => {
  const { oidc } = read(listed({ ...PARTNERS, sessionHours: 2, createUsers: "off", adminGroups: "admins", name: "Partner Login" }));
  t.match(configuredProviders(oidc), [
    { id: "partners", name: "Partner Login", sessionHours: 2, createUsers: false, adminGroups: ["admins"], loginClaim: "preferred_username" },
  ]);
  t.match(configuredProviders(read({ ...FIRST, ...listed(PARTNERS) }).oidc), [
    { id: "default", issuer: "https://login.example.com" },
    { id: "partners" },
  ]);
  const file = {
    path: "berth.yaml",
    text: "oidc:\n  providers:\n    - id: partners\n      issuer: https://partners.example\n      clientId: berth\n      allowedGroups: [a, b]\n      name:\n",
  };
  const parsed = readSettings({ env: {}, file: { ...file, parse: await loadSettingsParser() } }).settings;
  t.match(configuredProviders(parsed.oidc), [{ id: "partners", name: undefined, allowedGroups: ["a", "b"] }]);
  t.equal(effectiveSettings(readSettings({ env: listed(PARTNERS) })).find(({ key }) => key === "oidc.providers")?.value, "***");
  t.equal(readSettings({ env: { BERTH_OIDC_PROVIDERS_FILE: "x" }, readText: () => JSON.stringify([PARTNERS]) }).settings.oidc.providers.length, 1);
});

t.test("a list of providers with a mistake is refused, with one sentence that names it and no secret", async (t) => {
  const rows: [env: Record<string, string>, message: RegExp][] = [
    [{ BERTH_OIDC_PROVIDERS: "partners" }, /^BERTH_OIDC_PROVIDERS: is no JSON array of providers$/],
    [listed({ ...PARTNERS, clientID: "x" }), /^BERTH_OIDC_PROVIDERS: entry 1 has an unknown field "clientID"\W.*clientId/],
    [listed(PARTNERS, { ...PARTNERS, id: "Two" }), /^BERTH_OIDC_PROVIDERS: entry 2 has a wrong id: it takes letters a-z, digits and -$/],
    [listed({ ...PARTNERS, id: "default" }), /entry 1 has a wrong id/],
    [listed({ ...PARTNERS, sessionHours: "soon" }), /entry 1 has a wrong sessionHours: it takes a number of hours/],
    [listed({ ...PARTNERS, clientSecret: { hush: "hush-hush" } }), /entry 1 has a wrong clientSecret: it takes a secret$/],
    [listed({ ...PARTNERS, allowedGroups: undefined }), /entry 1 has no allowedGroups$/],
    [listed(...Array.from({ length: 11 }, () => PARTNERS)), /has 11 providers, more than 10$/],
    [listed({ ...PARTNERS, allowedGroups: [] }), /allowedGroups of partners in BERTH_OIDC_PROVIDERS is not/],
    [listed({ ...PARTNERS, issuer: "http://partners.example" }), /issuer of partners in BERTH_OIDC_PROVIDERS is http:.*unencrypted/],
    [listed(PARTNERS, { ...PARTNERS, issuer: "https://other.example" }), /two providers with the id partners/],
    [listed(PARTNERS, { ...PARTNERS, id: "again", issuer: "https://partners.example/" }), /which is issuer of partners in BERTH_OIDC_PROVIDERS too/],
    [{ ...FIRST, ...listed({ ...PARTNERS, issuer: "https://login.example.com" }) }, /which is BERTH_OIDC_ISSUER too/],
    [{ ...FIRST, BERTH_OIDC_NAME: "Login", ...listed({ ...PARTNERS, name: "login" }) }, /could not tell its button/],
    [{ ...listed(PARTNERS), BERTH_DIRECTORY: "datagrok", DATAGROK_URL: "https://grok.example.com/api" }, /^BERTH_OIDC_PROVIDERS is set and/],
  ];
  for (const [env, message] of rows) {
    let fault: unknown;
    try {
      fault = oidcSettingsFault(read(env));
    } catch (error) {
      fault = error;
    }
    t.match(fault, { code: "SETTINGS_INVALID", message }, String(message));
    t.notMatch((fault as Error | undefined)?.message ?? "", "hush-hush");
  }
});
