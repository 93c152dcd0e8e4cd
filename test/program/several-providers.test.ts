import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { openTerminal } from "../cli/fixtures/terminal.ts";
import { typeBerth } from "../cli/fixtures/type-berth.ts";
import { openConsole } from "../control/console/fixtures/open-console.ts";
import { eventually } from "../fixtures/eventually.ts";
import { CLIENT_ID, CLIENT_SECRET, startOidcProvider, visitProvider } from "../fixtures/oidc-provider.ts";
import { tempFolder } from "../fixtures/temp-folder.ts";
import { openStand } from "./contract/stand.ts";

const PAGE = readFileSync(join(import.meta.dirname, "../../docs/sign-in-providers.md"), "utf8");
const pageBlock = (language: string, nth = 0) => [...PAGE.matchAll(/```(\w+)\n(.*?)```/gs)].filter(([, of]) => of === language)[nth]?.[2] ?? "";
/** The page's list, as it stands there but for the issuer and the secret. */
const pageList = (issuer: string) =>
  pageBlock("json").replace("https://partners.example.com", issuer).replace("secret-of-berth-at-the-partners", CLIENT_SECRET);

t.test("users of two providers sign in, and none becomes a user of the other", async (t) => {
  const staff = await startOidcProvider(t, {
    anna: { sub: "1", preferred_username: "anna", name: "Anna of the staff", email: "anna@example.com", groups: ["lab", "admins"] },
  });
  const partners = await startOidcProvider(t, {
    anna: { sub: "1", preferred_username: "anna", email: "anna@example.com", groups: ["guests", "admins"] },
    bob: { sub: "2", preferred_username: "bob", name: "Bob of the partners", groups: ["guests", "admins"] },
    eve: { sub: "3", preferred_username: "eve", groups: ["lab"] },
  });
  const file = join(tempFolder(t), "providers.json");
  writeFileSync(file, pageList(partners.issuer));
  const [, variable = ""] = /export (\w+)=/.exec(pageBlock("sh")) ?? [];
  const stand = await openStand(t, {
    BERTH_OIDC_ISSUER: staff.issuer,
    BERTH_OIDC_NAME: "Staff Login",
    BERTH_OIDC_CLIENT_ID: CLIENT_ID,
    BERTH_OIDC_CLIENT_SECRET: CLIENT_SECRET,
    BERTH_OIDC_ALLOWED_GROUPS: "lab",
    BERTH_OIDC_ADMIN_GROUPS: "admins",
    [variable]: file,
  });
  const console = new URL((await fetch(`${stand.base}/`, { redirect: "manual" })).headers.get("location") ?? "").origin;
  await staff.allow(`${console}/console/signed-in`);
  await partners.allow(`${console}/console/signed-in/partners`);
  const { page, troubles, picture } = await openConsole(t, stand.base);
  const signInAt = async (button: string, name: string) => {
    await page.context().clearCookies();
    await page.goto(`${console}/#/profile`);
    await page.reload();
    await page.getByRole("button", { name: button }).click();
    await page.getByLabel("Name").fill(name);
    await page.keyboard.press("Enter");
  };
  const accounts = async () => {
    const { rows } = await stand.json<{ rows: object[] }>("/admin/users");
    return rows;
  };

  await t.test("each at its own button", async (t) => {
    await page.getByRole("button", { name: "Sign in with Staff Login" }).waitFor();
    await picture("sign-in-with-two-providers");
    await signInAt("Sign in with Staff Login", "anna");
    await page.getByText("this session").waitFor();
    await signInAt("Sign in with Partner Login", "bob");
    await page.getByText("this session").waitFor();
    t.equal(page.url(), `${console}/#/profile`);
    t.match(await accounts(), [
      { login: "admin", provider: null },
      { login: "anna", admin: true, subject: "1", provider: "Staff Login" },
      { login: "bob", admin: false, subject: "2", provider: "Partner Login" },
    ]);
  });

  await t.test("a partner with the login, the subject and the e-mail address of a member of the staff is refused", async () => {
    await signInAt("Sign in with Partner Login", "anna");
    await page.getByRole("alert").getByText('berth users link anna "1" --provider partners').waitFor();
    await signInAt("Sign in with Partner Login", "eve");
    await page.getByRole("alert").getByText("you are in none of the groups that may sign in to this server (guests)").waitFor();
  });

  await t.test("the code of one provider is not taken to the address of the other", async (t) => {
    const begin = async (id: string) =>
      (await (await fetch(`${console}/console/sign-in/begin?provider=${id}`, { method: "POST" })).json()) as { url: string; sealed: string };
    const begun = await begin("default");
    const { search } = await visitProvider(begun.url, "anna");
    const finish = async (path: string) =>
      fetch(`${console}/console/sign-in/finish`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ sealed: begun.sealed, path, search }),
      });
    const before = partners.requests.length;
    t.equal((await finish("/console/signed-in/partners")).status, 401);
    t.equal(partners.requests.length, before);
    t.equal((await finish("/console/signed-in")).status, 200);
    t.equal((await fetch(`${console}/console/sign-in/begin?provider=other`, { method: "POST" })).status, 404);
  });

  await t.test("a command line chooses the provider", async (t) => {
    const home = tempFolder(t);
    const browser = join(home, "browser");
    writeFileSync(browser, '#!/bin/sh\nprintf %s "$1" > "$HOME/opened"\n', { mode: 0o755 });
    const env = { PATH: process.env["PATH"] ?? "", HOME: home, BERTH_DATA: join(home, "no-data"), BROWSER: browser };
    const [, words = ""] = /^\.\/berth (login .*)$/m.exec(PAGE) ?? [];
    const login = words.replace("https://berth.example.com", stand.base).split(" ");
    const session = openTerminal(t, login, { env });
    await session.expect(/To sign in with Partner Login, open this address/);
    const opened = await eventually("the browser to be opened", () =>
      existsSync(join(home, "opened")) ? readFileSync(join(home, "opened"), "utf8") || undefined : undefined,
    );
    t.equal(new URL(opened).origin, partners.issuer);
    await page.context().clearCookies();
    await page.goto(opened);
    await page.getByRole("button", { name: "Continue" }).click();
    await page.getByLabel("Name").fill("bob");
    await page.keyboard.press("Enter");
    await page.getByText("Sign-in Success").waitFor();
    t.equal(await session.ended(), 0, session.output());
    t.match(session.output(), /Signed in to http.* as bob, until 2/);

    const other = openTerminal(t, [...login.slice(0, -1), "other"], { env });
    await other.expect(/has no sign-in provider "other"\. Its providers are: default \(Staff Login\), partners \(Partner Login\)\./);
    t.not(await other.ended(), 0);
    const first = openTerminal(t, [...login.slice(0, -2), "--no-browser"], { env });
    await first.expect(/To sign in elsewhere, use --provider: partners \(Partner Login\)\.\s+To sign in with Staff Login/);
    first.type("\u0003");
    await first.ended();
  });

  await t.test("an administrator links a subject of a further provider", async (t) => {
    const env = { BERTH_DATA: join(stand.data, "berth-data"), BERTH_ADMIN_KEY: stand.key, BERTH_SERVER: "none" };
    const type = (...args: string[]) => typeBerth(args, { env: { PATH: process.env["PATH"] ?? "", HOME: tempFolder(t), ...env } });
    t.match(await type("users", "unlink", "anna"), { code: 0 });
    t.match(await type("users", "link", "anna", "1", "--provider", "partners"), { code: 0 });
    await signInAt("Sign in with Partner Login", "anna");
    await page.getByText("this session").waitFor();
    t.match((await accounts())[1], { login: "anna", provider: "Partner Login" });
    t.match(await type("users", "link", "anna", "1", "--provider", "others"), { code: 3, stderr: /no sign-in provider "others" here/ });
    await signInAt("Sign in with Staff Login", "anna");
    await page.getByRole("alert").getByText('berth users link anna "1".').waitFor();
  });

  await t.test("secrets are in no output", async (t) => {
    t.notMatch(stand.output(), CLIENT_SECRET);
    t.notMatch(JSON.stringify(await stand.json("/admin/settings")), CLIENT_SECRET);
  });
  t.same(troubles, []);
});
