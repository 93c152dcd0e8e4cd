import t from "tap";
import { checkSignIn } from "../../../cli/doctor/sign-in.ts";
import { readSettings } from "../../../conf/read-settings.ts";
import { systemClock } from "../../../lib/clock.ts";
import { freePort } from "../../fixtures/server.ts";
import { CLIENT_ID, startOidcProvider } from "../../fixtures/oidc-provider.ts";

const check = (env: Record<string, string>) => checkSignIn({ settings: readSettings({ env }).settings, clock: systemClock() });
const first = (issuer: string) => ({
  BERTH_OIDC_ISSUER: issuer,
  BERTH_OIDC_NAME: "Staff",
  BERTH_OIDC_CLIENT_ID: CLIENT_ID,
  BERTH_OIDC_ALLOWED_GROUPS: "*",
});

t.test("the document of each sign-in provider is loaded", async (t) => {
  t.match(await check({}), { unlooked: /BERTH_OIDC_ISSUER/ });
  t.match(await check({ ...first("https://a.example"), BERTH_OIDC_ALLOWED_GROUPS: "" }), { problems: [{ kind: "wrong" }] });
  const staff = await startOidcProvider(t, {});
  await staff.allow("http://127.0.0.1:8081/console/signed-in");
  const partners = await startOidcProvider(t, {});
  await partners.allow("http://127.0.0.1:8081/console/signed-in/partners", { withoutSignOut: true });
  const list = [
    { id: "partners", name: "Partners", issuer: partners.issuer, clientId: CLIENT_ID, allowedGroups: ["*"] },
    { id: "gone", name: "Gone", issuer: `http://127.0.0.1:${await freePort()}`, clientId: CLIENT_ID, allowedGroups: ["*"] },
  ];
  t.match(await check({ ...first(staff.issuer), BERTH_OIDC_PROVIDERS: JSON.stringify(list) }), {
    says: "Staff answers; Partners answers, and has no sign-out",
    problems: [{ what: /Sign-in with Gone does not work.*ECONNREFUSED/, todo: /issuer of gone in BERTH_OIDC_PROVIDERS/, kind: "wrong" }],
  });
});
