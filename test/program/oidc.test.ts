import t from "tap";
import { openConsole } from "../control/console/fixtures/open-console.ts";
import { CLIENT_ID, CLIENT_SECRET, startOidcProvider } from "../fixtures/oidc-provider.ts";
import { appFiles, openStand } from "./contract/stand.ts";

t.test("a signed-out user opens a container, signs in at the provider, and is in the container", async (t) => {
  const provider = await startOidcProvider(t, {
    anna: { sub: "id-of-anna", preferred_username: "anna", name: "Anna of the lab", groups: ["lab", "berth-admins"] },
    eve: { sub: "id-of-eve", preferred_username: "eve", groups: ["other"] },
  });
  const stand = await openStand(t, {
    BERTH_OIDC_ISSUER: provider.issuer,
    BERTH_OIDC_NAME: "Our Provider",
    BERTH_OIDC_CLIENT_ID: CLIENT_ID,
    BERTH_OIDC_CLIENT_SECRET: CLIENT_SECRET,
    BERTH_OIDC_ALLOWED_GROUPS: "lab",
    BERTH_OIDC_ADMIN_GROUPS: "berth-admins",
    BERTH_OIDC_GROUPS: "lab",
  });
  const console = new URL((await fetch(`${stand.base}/`, { redirect: "manual" })).headers.get("location") ?? "").origin;
  await provider.allow(`${console}/console/signed-in`);
  await stand.published("app", appFiles("web", "hello from the container", { on_demand: true }));
  const { id } = await stand.container("app-web");
  const address = `${stand.api}/docker/containers/proxy/${id}/`;
  const { page, troubles, picture } = await openConsole(t, stand.base);
  const atProvider = async (name: string) => {
    await page.getByRole("button", { name: "Sign in with Our Provider" }).click();
    await page.getByLabel("Name").fill(name);
    await page.keyboard.press("Enter");
  };

  await t.test("a member of an allowed group", async (t) => {
    await page.goto(address);
    await page.getByRole("button", { name: "Sign in with Our Provider" }).waitFor();
    await picture("sign-in-with-provider");
    await atProvider("anna");
    await page.getByText("hello from the container").waitFor();
    t.equal(page.url(), address);
    const anna = await stand.json("/admin/users/anna");
    t.match(anna, { friendlyName: "Anna of the lab", admin: true, groups: ["lab"], keys: 0 });
    const entries = await stand.json<{ action: string; login: string; via: string }[]>("/admin/audit?login=anna");
    t.match(entries, [
      { action: "signedIn", via: "oidc" },
      { action: "userAdded", via: "oidc" },
    ]);
  });

  await t.test("sign-out ends the session, and no one else signs in", async (t) => {
    await page.goto(`${console}/#/profile`);
    await page.getByText("this session").waitFor();
    await page.getByRole("button", { name: "Sign out" }).click();
    await page.context().clearCookies();
    await atProvider("eve");
    await page.getByRole("alert").getByText("you are in none of the groups").waitFor();
    await picture("sign-in-refused");
    t.match(await stand.json("/admin/users"), { total: 2 }, "eve is no user");
    t.notMatch(page.url(), /code|state/, "the address has nothing of the sign-in");
  });

  await t.test("the secret is in no output", async (t) => {
    t.notMatch(stand.output(), CLIENT_SECRET);
    t.notMatch(JSON.stringify(await stand.json("/admin/settings")), CLIENT_SECRET);
  });
  t.same(troubles, []);
});
