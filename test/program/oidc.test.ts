import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { openTerminal } from "../cli/fixtures/terminal.ts";
import { typeBerth } from "../cli/fixtures/type-berth.ts";
import { openPage, openConsole } from "../control/console/fixtures/open-console.ts";
import { CLIENT_SECRET, startOidcProvider } from "../fixtures/oidc-provider.ts";
import { eventually } from "../fixtures/eventually.ts";
import { tempFolder } from "../fixtures/temp-folder.ts";
import { appFiles, openStand } from "./contract/stand.ts";

const PAGE = readFileSync(join(import.meta.dirname, "../../docs/sign-in.md"), "utf8");

const SIGN_OUT_PAGE = readFileSync(join(import.meta.dirname, "../../docs/sign-out.md"), "utf8");

/** The settings of the page, as they stand there but for the issuer and the file of the secret. */
function pageSettings(issuer: string, secretFile: string): Record<string, string> {
  const lines = [...PAGE.matchAll(/^export (\w+)=(?:"([^"]*)"|(\S*))$/gm)];
  const settings = Object.fromEntries(lines.map(([, name = "", quoted, plain = ""]) => [name, quoted ?? plain]));
  return { ...settings, BERTH_OIDC_ISSUER: issuer, BERTH_OIDC_CLIENT_SECRET_FILE: secretFile };
}

/** The words of the page's command for users, with this server's address. */
function pageLogin(base: string): string[] {
  const [, words = ""] = /^\.\/berth (login .*)$/m.exec(PAGE) ?? [];
  return words.replace("https://berth.example.com", base).split(" ");
}

t.test("a signed-out user opens a container, signs in at the provider, and is in the container", async (t) => {
  const provider = await startOidcProvider(t, {
    anna: { sub: "id-of-anna", preferred_username: "anna", name: "Anna of the lab", groups: ["lab", "berth-admins"] },
    eve: { sub: "id-of-eve", preferred_username: "eve", groups: ["other"] },
  });
  const secretFile = join(tempFolder(t), "secret");
  writeFileSync(secretFile, `${CLIENT_SECRET}\n`);
  const stand = await openStand(t, {
    ...pageSettings(provider.issuer, secretFile),
    BERTH_OIDC_GROUPS: "lab",
  });
  const console = new URL((await fetch(`${stand.base}/`, { redirect: "manual" })).headers.get("location") ?? "").origin;
  const [, reportPath = ""] = /`<console>(\/\S*logout)`/.exec(SIGN_OUT_PAGE) ?? [];
  await provider.allow(`${console}/console/signed-in`, { backChannel: `${console}${reportPath}` });
  await stand.published("app", appFiles("web", "hello from the container", { on_demand: true }));
  const { id } = await stand.container("app-web");
  const address = `${stand.api}/docker/containers/proxy/${id}/`;
  const { page, troubles, picture } = await openConsole(t, stand.base);
  const atProvider = async (name: string) => {
    await page.getByRole("button", { name: "Sign in with Example Login" }).click();
    await page.getByLabel("Name").fill(name);
    await page.keyboard.press("Enter");
  };

  await t.test("a member of an allowed group", async (t) => {
    await page.goto(address);
    await page.getByRole("button", { name: "Sign in with Example Login" }).waitFor();
    await picture("sign-in-with-provider");
    await atProvider("anna");
    await page.getByText("hello from the container").waitFor();
    t.equal(page.url(), address);
    const anna = await stand.json("/admin/users/anna");
    t.match(anna, { friendlyName: "Anna of the lab", admin: true, groups: ["lab"], keys: 0 });
    const entries = await stand.json<{ action: string; login: string; via: string }[]>("/admin/audit?login=anna");
    t.match(entries, [
      { action: "signedIn", via: "oidc" },
      { action: "userChanged", target: "anna: administrator: yes, group +lab", via: "oidc" },
      { action: "userAdded", via: "oidc" },
    ]);
  });

  await t.test("sign-out ends the session, and no one else signs in", async (t) => {
    await page.goto(`${console}/#/profile`);
    await page.getByText("this session").waitFor();
    const { rows: before } = await stand.json<{ rows: object[] }>("/admin/sessions?text=anna");
    t.ok(before.length >= 2, "the console's session, and the one of the container's page");
    await page.getByRole("button", { name: "Sign out" }).click();
    await page.getByRole("button", { name: "Yes, sign me out" }).click();
    await page.getByText("You are signed out of berth and of Example Login.").waitFor();
    await picture("signed-out-at-provider");
    t.equal(page.url(), `${console}/console/signed-in`, "the address has nothing of the sign-out");
    t.match(await stand.json("/admin/sessions?text=anna"), { total: 0 });
    await page.goto(`${console}/#/profile`);
    // The provider asks who it is again.
    await atProvider("eve");
    await page.getByRole("alert").getByText("you are in none of the groups").waitFor();
    await picture("sign-in-refused");
    t.match(await stand.json("/admin/users"), { total: 2 }, "eve is no user");
    t.notMatch(page.url(), /code|state/, "the address has nothing of the sign-in");
  });

  await t.test("a user who signs out at the provider, elsewhere, is signed out of berth", async (t) => {
    await page.context().clearCookies();
    await page.goto(`${console}/#/profile`);
    await atProvider("anna");
    await page.getByText("this session").waitFor();
    const [elsewhere] = await Promise.all([page.waitForEvent("popup"), page.evaluate(`void open("${provider.issuer}/session/end")`)]);
    await elsewhere.getByRole("button", { name: "Yes, sign me out" }).click();
    await elsewhere.getByText("Sign-out Success").waitFor();
    await eventually("the session to end", async () => (await stand.json<{ total: number }>("/admin/sessions?text=anna")).total === 0, 10_000);
    await page.getByRole("dialog", { name: "Your session has ended" }).waitFor();
    await picture("signed-out-by-provider");
    await elsewhere.close();
    t.match(await stand.json("/admin/sessions?text=anna"), { total: 0 });
    const [entry] = await stand.json<object[]>("/admin/audit?login=anna");
    t.match(entry, { action: "signedOut", target: "anna", via: "oidc" });
    const forged = await fetch(`${console}${reportPath}`, { method: "POST", body: new URLSearchParams({ logout_token: "x" }) });
    t.match([forged.status, forged.headers.get("cache-control")], [400, "no-store"]);
    t.equal((await fetch(`${stand.base}${reportPath}`, { method: "POST" })).status, 404, "not at the edge");
  });

  await t.test("the secret is in no output", async (t) => {
    t.notMatch(stand.output(), CLIENT_SECRET);
    t.notMatch(JSON.stringify(await stand.json("/admin/settings")), CLIENT_SECRET);
  });

  await t.test("a command line signs in by a code, and publishes with its session", async (t) => {
    const home = tempFolder(t);
    const browser = join(home, "browser");
    writeFileSync(browser, '#!/bin/sh\nprintf %s "$1" > "$HOME/opened"\n', { mode: 0o755 });
    const env = { PATH: process.env["PATH"] ?? "", HOME: home, BERTH_DATA: join(home, "no-data"), BROWSER: browser };
    const session = openTerminal(t, [...pageLogin(stand.base), "--name", "lab"], { env });
    const [, code = ""] = await session.expect(
      /To sign in with Example Login, open this address in a browser on any device:\s+http\S+\s+Check that the page shows the code ([A-Z]{4}-[A-Z]{4})/,
    );
    const opened = await eventually("the browser to be opened", async () => {
      const text = existsSync(join(home, "opened")) ? readFileSync(join(home, "opened"), "utf8") : "";
      return text === "" ? undefined : text;
    });
    t.match(opened, code);
    const other = await openPage();
    t.teardown(() => other.close());
    await other.goto(opened);
    await other.getByRole("button", { name: "Continue" }).click();
    await other.getByLabel("Name").fill("anna");
    await other.keyboard.press("Enter");
    await other.getByText("Sign-in Success").waitFor();
    t.equal(await session.ended(), 0, session.output());
    t.match(session.output(), /Signed in to http.* as anna, until 2/);
    const file = readFileSync(join(home, ".config/berth/config.yaml"), "utf8");
    t.match(file, /token: [\w-]{43}/);
    t.notMatch(session.output(), /[\w-]{43}/, "the terminal shows no token");

    const type = (...args: string[]) => typeBerth(args, { env });
    t.match(await type("users", "ls"), { code: 0, stdout: /anna +admin +lab/ });
    const folder = join(home, "package");
    mkdirSync(join(folder, "dockerfiles/web"), { recursive: true });
    writeFileSync(join(folder, "package.json"), JSON.stringify({ name: "annas", version: "1.0.0" }));
    for (const [path, text] of Object.entries(appFiles("web", "one", { on_demand: true }))) writeFileSync(join(folder, path), text);
    t.match(await type("publish", folder), { code: 0 });
    t.match((await stand.json("/admin/audit?action=packagePublished&login=anna"))[0], { target: "annas" });

    t.match(
      await typeBerth(["users", "block", "anna"], {
        env: { ...env, BERTH_DATA: join(stand.data, "berth-data"), BERTH_ADMIN_KEY: stand.key, BERTH_SERVER: "none" },
      }),
      { code: 0 },
    );
    t.match(await type("users", "ls"), { code: 4, stderr: /The session at .* has ended.*berth login/ });
    await stand.call("/users/anna/block", { method: "DELETE" });
    t.match(await type("context", "rm", "lab"), { stdout: /Its session stays valid until/ });
  });

  await t.test("while the provider is away, keys work, and one sentence says so", async (t) => {
    provider.isUp = false;
    await page.goto(`${console}/#/containers`);
    await page.context().clearCookies();
    await page.reload();
    const button = page.getByRole("button", { name: "Sign in with Example Login" });
    await button.waitFor();
    // Its document is kept, so the browser goes there. The command line learns at once.
    const home = tempFolder(t);
    const session = openTerminal(t, ["login", stand.base, "--name", "lab"], { env: { PATH: process.env["PATH"] ?? "", HOME: home } });
    await session.expect(
      /Sign-in with Example Login does not work at the moment \(it answered 503\)\. Developer keys work as before\.\n+Developer key for .*: $/,
    );
    session.type(`${stand.key}\r`);
    t.equal(await session.ended(), 0, session.output());
    await page.getByLabel("Developer key").fill(stand.key);
    await page.keyboard.press("Enter");
    await page.getByRole("link", { name: "app-web", exact: true }).waitFor();
    provider.isUp = true;
  });

  await t.test("a link from another user signs no one in", async (t) => {
    const own = await openPage();
    t.teardown(() => own.close());
    await own.goto(`${console}/console/signed-in?code=of-eve&state=of-eve`);
    await own.getByRole("alert").getByText("This sign-in was not begun in this browser tab. Sign in again.").waitFor();
    t.same(await own.context().cookies(), []);
    t.equal(own.url(), `${console}/console/signed-in`);
    for (const path of ["begin", "finish"]) {
      const answer = await fetch(`${console}/console/sign-in/${path}`, {
        method: "POST",
        headers: { "content-type": "application/json", origin: stand.base, "sec-fetch-site": "same-site" },
        body: JSON.stringify({ sealed: "x", path: "/console/signed-in", search: "?code=x" }),
      });
      t.equal(answer.status, 403, "a page of the edge");
    }
    t.equal((await fetch(`${stand.base}/console/sign-in/begin`, { method: "POST" })).status, 404, "not at the edge");
  });

  await t.test("a code is valid once", async (t) => {
    const begun = (await (await fetch(`${console}/console/sign-in/begin`, { method: "POST" })).json()) as { url: string; sealed: string };
    const own = await openPage();
    t.teardown(() => own.close());
    // The page at which the browser arrives began no sign-in, so the code is not used.
    await own.goto(begun.url);
    const arrived = own.waitForRequest(/signed-in\?/);
    await own.getByLabel("Name").fill("anna");
    await own.keyboard.press("Enter");
    const { pathname: path, search } = new URL((await arrived).url());
    const finish = () =>
      fetch(`${console}/console/sign-in/finish`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ sealed: begun.sealed, path, search }),
      });
    const first = await finish();
    t.equal(first.status, 200);
    t.match(first.headers.get("set-cookie"), /^berth-console=[\w-]{43}; Path=\/; Max-Age=86[34]\d\d; HttpOnly; SameSite=Strict$/);
    const second = await finish();
    t.equal(second.status, 401);
    t.match(await second.json(), { message: /has expired, or was finished before/ });
  });
  t.same(troubles, []);
});
