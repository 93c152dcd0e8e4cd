import { writeFileSync } from "node:fs";
import t from "tap";
import { appFiles, openStand } from "./contract/stand.ts";
import { openConsole } from "../control/console/fixtures/open-console.ts";
import { eventually } from "../fixtures/eventually.ts";

/** Writes lines of every level and the id of its process. */
const SPEAKS = {
  ...appFiles("web", "one", { on_demand: true }),
  "dockerfiles/web/server.cjs": `console.log("INFO process " + process.pid);
console.log("WARNING disk is slow");
console.log("ERROR no licence");
require("node:http").createServer((request, response) => response.end("it")).listen(Number(process.env.PORT), "127.0.0.1");`,
};
/** Fails until the file exists that its variable names. */
const FLAKY = (file: string) => ({
  ...appFiles("flaky", "1", { on_demand: true }),
  "dockerfiles/flaky/server.cjs": `if (!require("node:fs").existsSync(${JSON.stringify(file)})) { console.error("no model file"); process.exit(3); }
require("node:http").createServer((request, response) => response.end()).listen(Number(process.env.PORT), "127.0.0.1");`,
});

for (const [name, options] of [
  ["wide", {}],
  ["phone", { phone: true }],
] as const) {
  t.test(
    `${name}: a container's page has tabs in its address, restarts the container, copies its address, and removes it after a question`,
    async (t) => {
      const stand = await openStand(t);
      await stand.published("app", SPEAKS);
      const { id } = await stand.container("app-web");
      const { page, signIn, picture, troubles } = await openConsole(t, stand.base, options);
      await signIn(stand.key);
      await page.getByRole("link", { name: "app-web", exact: true }).click();
      t.ok(await page.getByRole("button", { name: "Restart" }).isDisabled(), "a stopped container is started, not restarted");
      await page.getByRole("button", { name: "Start", exact: true }).click();
      await page.locator("h1 .status.good", { hasText: "started" }).waitFor();
      t.match(await page.title(), /^started · app-web/);

      await page.getByRole("link", { name: "Logs" }).click();
      const process = page.getByText(/INFO process \d+/);
      await process.waitFor();
      const first = await process.textContent();
      t.match(await page.locator(".log-line.error").textContent(), /no licence/);
      await page.getByLabel("Level").selectOption("errors");
      await process.waitFor({ state: "detached" });
      await page.getByLabel("Level").selectOption("all levels");
      await page.getByLabel("Search in the logs").fill("disk");
      await process.waitFor({ state: "detached" });
      await page.getByLabel("Search in the logs").fill("");
      await picture(`container-logs-${name}`);

      await page.getByRole("button", { name: "Restart" }).click();
      await eventually("the new process to write its line", async () =>
        (await process.textContent().catch(() => first)) === first ? undefined : true,
      );
      await page.reload();
      await page.getByRole("heading", { name: "Logs" }).waitFor();
      t.match(page.url(), /\/logs$/, "the address keeps the tab");
      await page.getByLabel("Previous run").check();
      await page.getByText(first?.trim().replace(/^\S+ /, "") ?? "").waitFor();
      await page.getByRole("link", { name: "History" }).click();
      await page.getByText("start requested by admin").first().waitFor();
      await picture(`container-history-${name}`);

      await page.context().grantPermissions(["clipboard-read", "clipboard-write"]);
      await page.getByText("Copy", { exact: true }).click();
      await page.getByRole("button", { name: "Copy curl command" }).click();
      await page.getByRole("status").getByText("Curl command copied.").waitFor();
      t.match(await page.evaluate("navigator.clipboard.readText()"), `/api/docker/containers/proxy/${id}/`);

      await page.getByText("More", { exact: true }).click();
      await page.getByRole("button", { name: "Remove…" }).click();
      await page.getByRole("dialog").getByRole("button", { name: "Cancel" }).click();
      t.equal((await stand.call(`/docker/containers/${id}`)).status, 200, "nothing is removed without a yes");
      await page.getByText("More", { exact: true }).click();
      await page.getByRole("button", { name: "Remove…" }).click();
      await page.getByRole("dialog").getByRole("button", { name: "Remove" }).click();
      await page.getByText("app-web is removed.").waitFor();
      await page.getByRole("heading", { name: "Containers" }).waitFor();
      t.equal((await stand.call(`/docker/containers/${id}`)).status, 404);
      t.same(troubles, []);
    },
  );
}

t.test("the logs of a single replica are chosen by its number", async (t) => {
  const stand = await openStand(t);
  await stand.published("app", { ...SPEAKS, "dockerfiles/web/container.json": JSON.stringify({ replicas: { min: 2, max: 3 } }) });
  const { id } = await stand.container("app-web");
  await stand.call(`/docker/containers/${id}/run?awaitStart=true`);
  const { page, signIn, picture, troubles } = await openConsole(t, stand.base);
  await signIn(stand.key);
  await page.getByRole("link", { name: "app-web", exact: true }).click();
  await page.getByRole("link", { name: "Logs" }).click();
  const line = page.getByText(/INFO process \d+/);
  await line.waitFor();
  const first = await line.textContent();
  const picker = page.getByLabel("Replica");
  await eventually(
    "both to be started",
    async () => (await picker.locator("option").allTextContents()).join() === "replica 1 (started),replica 2 (started)",
  );
  await picker.selectOption("2");
  await eventually("the lines of the other process", async () => {
    const text = await line.textContent().catch(() => first);
    return text !== first && text !== null;
  });
  const second = await line.textContent();
  // An event of the container keeps the choice.
  await stand.call(`/docker/containers/${id}/lease`, { method: "POST", headers: { "content-type": "application/json" }, body: '{"seconds":60}' });
  await page.getByLabel("Search in the logs").fill("process");
  t.equal(await picker.inputValue(), "2");
  t.equal(await line.textContent(), second);
  await picture("container-logs-replica");
  t.same(troubles, []);
});

t.test("failures of one cause are one card with their age, and a success removes it", async (t) => {
  const stand = await openStand(t);
  const file = `${stand.data}/model`;
  await stand.published("app", FLAKY(file));
  const { page, signIn, picture, troubles } = await openConsole(t, stand.base);
  await signIn(stand.key);
  await page.getByRole("link", { name: "app-flaky", exact: true }).click();
  const start = page.getByRole("button", { name: "Start", exact: true });
  await start.click();
  const card = page.getByRole("note", { name: "Last failure" });
  await card.getByText("no model file").waitFor();
  // A user's start does not wait for the back-off to end, but the container does.
  await start.click();
  await card.getByText("2 times, last").waitFor();
  t.equal(await card.count(), 1);
  const why = page.getByRole("region", { name: "Why" });
  await why.getByText("The next request tries again.").waitFor();
  const [sentence = ""] = /ended before it was ready[^.]*/.exec(await card.innerText()) ?? [];
  t.match(sentence, "exit code");
  t.equal((await page.locator("main").innerText()).split(sentence).length - 1, 1, "the sentence stands in the card only");
  await picture("container-failures");
  writeFileSync(file, "");
  await start.click();
  await page.locator("h1 .status.good", { hasText: "started" }).waitFor();
  await card.waitFor({ state: "detached" });
  t.same(troubles, []);
});

/** Listens once its file exists. */
const SLOW = (file: string) => ({
  ...appFiles("slow", "1", { on_demand: true }),
  "dockerfiles/slow/server.cjs": `const server = require("node:http").createServer((request, response) => response.end());
const timer = setInterval(() => require("node:fs").existsSync(${JSON.stringify(file)}) && (clearInterval(timer), server.listen(Number(process.env.PORT), "127.0.0.1")), 50);`,
});

t.test("while a start runs, its phases grow in neutral colours, and the title says so", async (t) => {
  const stand = await openStand(t);
  const file = `${stand.data}/ready`;
  await stand.published("app", SLOW(file));
  const { page, signIn, picture, troubles } = await openConsole(t, stand.base, { dark: true });
  await signIn(stand.key);
  await page.getByRole("link", { name: "app-slow", exact: true }).click();
  await page.getByRole("button", { name: "Start", exact: true }).click();
  const boot = page.locator(".live .bar.boot.growing");
  await boot.waitFor();
  const widthOf = async () => Number(/boot ([\d.]+) s/.exec((await page.locator(".live .waterfall").getAttribute("aria-label")) ?? "")?.[1] ?? 0);
  const first = await widthOf();
  await eventually("the phase to grow", async () => ((await widthOf()) > first + 0.2 ? true : undefined));
  t.match(await page.title(), /^starting · app-slow/);
  await page.getByText(/^(?:none yet|127\.0\.0\.1:\d+) \(starting\)$/).waitFor();
  await picture("container-starting");
  writeFileSync(file, "");
  await page.locator("h1 .status.good", { hasText: "started" }).waitFor();
  await page.locator(".live").waitFor({ state: "detached" });
  t.same(troubles, []);
});

t.test("the configuration is shown as it is written and as it is used, without the values of secrets", async (t) => {
  const stand = await openStand(t);
  const written = `{
  "cpu": 0.5, "onDemand": true,
  "env": { "MODEL": "solubility-v3", "API_KEY": "never-\\"shown", "authToken": 12345 }
}`;
  await stand.published("app", { ...appFiles("web", "one"), "dockerfiles/web/container.json": written });
  const { page, signIn, troubles } = await openConsole(t, stand.base);
  await signIn(stand.key);
  await page.getByRole("link", { name: "app-web", exact: true }).click();
  await page.getByRole("link", { name: "Configuration" }).click();
  const section = page.getByRole("region", { name: "container.json" });
  const [asWritten, asUsed] = [
    section.locator("div", { has: page.getByRole("heading", { name: "As written" }) }).last(),
    section.locator("pre").last(),
  ];
  await asWritten.getByText('"cpu": 0.5, "onDemand": true').waitFor();
  t.match(await asWritten.textContent(), /"MODEL": "solubility-v3", "API_KEY": "\*\*\*", "authToken": "\*\*\*"/);
  t.match(await asUsed.textContent(), /"cpu": 0\.5.*"memory": 512.*"on_demand": true/s);
  t.notMatch(await page.locator("main").textContent(), /never|12345/);
  t.same(troubles, []);
});
