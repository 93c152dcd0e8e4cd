import t from "tap";
import { appFiles, openStand } from "./contract/stand.ts";
import { openOwn } from "../gateway/registry/own-registry.ts";
import { openConsole } from "../control/console/fixtures/open-console.ts";

/** Says a line, answers at once, and of `/hold` only the head. */
const HOLDS = {
  ...appFiles("web", "one", { on_demand: true }),
  "dockerfiles/web/server.cjs": `console.log("version one speaks");
require("node:http").createServer((request, response) => {
  if (request.url === "/hold") return response.write("and so on");
  response.end();
}).listen(Number(process.env.PORT), "127.0.0.1");`,
};
const CRASHES = { ...appFiles("broken", "1"), "dockerfiles/broken/server.cjs": 'console.error("no licence found"); process.exit(3);' };

/** Names of buttons, not of the filter with these words. */
const [START, STOP] = [/^Start/, /^Stop/];

t.test("a person signs in, watches a container wake, sees who holds it, stops it, and is out after signing out", async (t) => {
  const stand = await openStand(t);
  await stand.published("app", { ...HOLDS, ...CRASHES });
  const { page, signIn, picture, troubles } = await openConsole(t, stand.base);

  await signIn("wrong");
  t.match(await page.getByRole("alert").textContent(), /key/i);
  await picture("sign-in");
  await signIn(stand.key);
  await page.getByRole("heading", { name: "Containers" }).waitFor();
  t.equal(await page.evaluate("document.cookie"), "", "no script reads the session");

  await page.getByRole("link", { name: "app-broken", exact: true }).waitFor();
  await page.keyboard.press("/");
  await page.keyboard.type("web");
  await page.getByRole("link", { name: "app-broken", exact: true }).waitFor({ state: "detached" });
  await page.getByRole("link", { name: "app-web", exact: true }).focus();
  await page.keyboard.press("Enter");
  await page.locator("h1 .status", { hasText: "sleeping" }).waitFor();
  await page.getByRole("button", { name: START }).click();
  await page.locator("h1 .status.good", { hasText: "started" }).waitFor();
  await page.getByRole("link", { name: "Logs" }).click();
  await page.getByText("version one speaks").waitFor();
  await page.getByRole("navigation", { name: "Container" }).getByRole("link", { name: "Overview" }).click();
  await page.locator(".waterfall .bar.boot").waitFor();
  t.match(await page.getByRole("region", { name: "Why" }).textContent(), /admin/);

  const { id } = await stand.container("app-web");
  const over = new AbortController();
  const held = await stand.call(`/docker/containers/proxy/${id}/hold`, { signal: over.signal });
  t.equal(held.status, 200);
  await page.getByRole("region", { name: "Open requests" }).getByRole("cell", { name: "admin" }).waitFor();
  await picture("container-started");
  over.abort();

  await page.getByRole("button", { name: STOP }).click();
  await page.locator("h1 .status", { hasText: "stopped by user" }).waitFor();

  await page.goto(`${stand.base}/#/containers/${(await stand.container("app-broken")).id}`);
  await page.locator("h1", { hasText: "app-broken" }).waitFor();
  await page.getByRole("button", { name: START }).click();
  await page.locator("h1 .status.bad").waitFor();
  await page.getByRole("note", { name: "Last failure" }).getByText("no licence found").waitFor();
  await picture("container-failed");

  const [cookie] = await page.context().cookies();
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.getByLabel("Developer key").waitFor();
  const ended = await fetch(`${stand.api}/users/current`, { headers: { authorization: decodeURIComponent(cookie?.value ?? "") } });
  t.equal(ended.status, 401);
  t.same(troubles, []);
});

t.test("a user who may not manage a container sees neither its logs nor a value of its environment", async (t) => {
  const stand = await openStand(t);
  await stand.published("app", appFiles("web", "one", { env: { PLAIN: "not-for-bert" } }));
  const { key } = await stand.person("bert");
  const { page, signIn, troubles } = await openConsole(t, stand.base);
  await signIn(key);
  await page.getByRole("link", { name: "app-web", exact: true }).click();
  await page.getByRole("link", { name: "Configuration" }).click();
  await page.getByText("PLAIN").waitFor();
  t.equal(await page.getByText("not-for-bert").count(), 0);
  t.same(
    await page.getByRole("navigation", { name: "Container" }).getByRole("link").allInnerTexts(),
    ["Overview", "Configuration"],
    "no tab that is refused",
  );
  t.equal(
    (await fetch(`${stand.api}/docker/containers/${(await stand.container("app-web")).id}/logs`, { headers: { authorization: `Dev ${key}` } }))
      .status,
    403,
  );
  t.same(troubles, []);
});

t.test("the registry is looked through, and an administrator deletes an image after a question", async (t) => {
  const { berth, push } = await openOwn(t);
  await push("datagrok/app", "1.0.0", "a layer");
  await push("datagrok/app", "2.0.0", "another layer");
  const { page, signIn, picture, troubles } = await openConsole(t, berth.base);
  await signIn(berth.key);
  await page.getByRole("link", { name: "Registry" }).click();
  await page.getByRole("link", { name: "datagrok/app" }).click();
  await page.getByRole("cell", { name: "2.0.0", exact: true }).waitFor();
  t.match(await page.getByRole("row").filter({ hasText: "2.0.0" }).textContent(), /by admin/, "who pushed it");
  await picture("repository");
  const row = page.getByRole("row").filter({ hasText: "1.0.0" });
  await row.getByRole("button", { name: "Delete" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Cancel" }).click();
  t.equal(await row.count(), 1, "nothing is deleted without a yes");
  await row.getByRole("button", { name: "Delete" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Delete" }).click();
  await row.waitFor({ state: "detached" });
  t.same(await page.locator("tbody td:first-child").allTextContents(), ["2.0.0"]);
  await page.getByRole("link", { name: "Administration" }).click();
  await page.getByText("process, environment").waitFor();
  t.match(await page.getByRole("region", { name: "Keys" }).textContent(), /signs docker tokens.*admin/, "keys and their age");
  await picture("stand");
  t.same(troubles, []);
});

/** Listens, but not where it should, and says when it began. */
const ELSEWHERE = appFiles("elsewhere", "1", { on_demand: true });
ELSEWHERE["dockerfiles/elsewhere/server.cjs"] = `console.log("it began");
require("node:http").createServer(() => {}).listen(0, "127.0.0.1", function () { console.log("at " + this.address().port); });`;

t.test(
  "the console says where a container listens that does not get ready, as soon as berth knows, and shows the log of the run before",
  async (t) => {
    const stand = await openStand(t);
    await stand.published("slip", ELSEWHERE);
    const { page, signIn, picture, troubles } = await openConsole(t, stand.base);
    await signIn(stand.key);
    const { id } = await stand.container("slip-elsewhere");
    await page.getByRole("link", { name: "slip-elsewhere", exact: true }).click();
    // The list has such a button too, and a filter with this word.
    await page.locator("h1", { hasText: "slip-elsewhere" }).waitFor();
    await page.getByRole("button", { name: START }).click();
    const says = /^The process listens on port \d+, but the variable PORT says \d+: listen on that port\.$/;
    await page
      .getByRole("region", { name: "Why" })
      .getByText(/but the variable PORT says \d+: listen on that port\./)
      .waitFor();
    t.equal(await page.getByText("but the variable PORT says").count(), 1, "once on the page");
    await picture("container-elsewhere");
    await page.getByRole("link", { name: "Logs" }).click();
    await page.getByText("it began").waitFor();
    await page.getByRole("checkbox", { name: "Previous run" }).check();
    await page.getByText("No log lines.").waitFor();
    await page.getByRole("checkbox", { name: "Previous run" }).uncheck();
    await page.getByRole("checkbox", { name: "Times" }).check();
    await page.getByText("it began").waitFor();
    t.match((await stand.container("slip-elsewhere")).note, says);
    await stand.call(`/docker/containers/${id}/stop?awaitStop=true`);
    t.same(troubles, []);
  },
);
