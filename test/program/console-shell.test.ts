import t from "tap";
import { openConsole } from "../control/console/fixtures/open-console.ts";
import { startBerth } from "../fixtures/berth.ts";
import { openEngine, removeInstallation } from "../fixtures/engine.ts";
import { eventually } from "../fixtures/eventually.ts";
import { buildShellImage } from "../fixtures/images.ts";
import { tempFolder } from "../fixtures/temp-folder.ts";

/** The tab Shell of a container, in Chromium, with a real container behind it. */
const { docker } = openEngine();
const image = await buildShellImage(docker);
const names = { network: `berth-tab-${process.pid}`, environment: `tab-${process.pid}` };
const berth = await startBerth({
  data: tempFolder(t),
  env: { BERTH_DRIVER: "docker", BERTH_SHELL: "on", BERTH_DOCKER_NETWORK: names.network, GROK_SPAWNER_ENVIRONMENT: names.environment },
});
t.teardown(async () => {
  await berth.stop();
  await removeInstallation(docker, names.environment, names.network);
});
await berth.publish("tools", {
  "package.json": JSON.stringify({ name: "tools", version: "1.0.0" }),
  "dockerfiles/box/container.json": JSON.stringify({ image, port: 15353 }),
});
await eventually("the image to be ready", async () => (await berth.container("tools-box")).dockerfile.status === "ready");
const { id } = await berth.container("tools-box");
await berth.call(`/docker/containers/${id}/run?awaitStart=true`);

for (const [name, options] of [
  ["wide", {}],
  ["phone", { phone: true }],
] as const) {
  t.test(`${name}: a shell is loaded when it is opened, runs what is typed, says that it ended, and reconnects`, async (t) => {
    const { page, signIn, picture, troubles } = await openConsole(t, berth.base, { ...options, dark: name === "phone" });
    const loaded: string[] = [];
    page.on("request", (request) => loaded.push(request.url()));
    await signIn(berth.key);
    await page.getByRole("link", { name: "tools-box", exact: true }).click();
    await page.getByRole("navigation", { name: "Container" }).getByRole("link", { name: "Shell" }).click();
    await page.getByRole("button", { name: "Open a shell" }).waitFor();
    t.notOk(
      loaded.some((url) => url.includes("draw-terminal")),
      "no terminal before it is opened",
    );
    await page.getByRole("button", { name: "Open a shell" }).click();
    const terminal = page.getByRole("group", { name: "Shell in tools-box" });
    await terminal.locator(".xterm-rows").getByText(/[$#]/).first().waitFor();
    await page.keyboard.type("echo $((6*7)) things; stty size\n");
    const text = async () => (await terminal.locator(".xterm-rows").innerText()).replaceAll("\u00a0", " ");
    await eventually("the command's output", async () => /42 things\s+\d+ \d+/.test(await text()));
    const [, columns] = /things\s+\d+ (\d+)/.exec(await text()) ?? [];
    const [inside, around] = [await terminal.locator(".xterm-screen").boundingBox(), await terminal.boundingBox()];
    t.ok((inside?.width ?? 0) <= (around?.width ?? 0), `${columns} columns fit`);
    t.ok(Number(columns) > 20 && Number(columns) < 400, `${columns} columns`);
    await picture(`container-shell-${name}`);
    await page.keyboard.type("exit 3\n");
    await page.getByText("The shell has ended with exit code 3.").waitFor();
    await picture(`container-shell-ended-${name}`);
    await page.getByRole("button", { name: "Reconnect" }).click();
    await terminal.locator(".xterm-rows").getByText(/[$#]/).first().waitFor();
    await page.getByRole("link", { name: "History" }).click();
    const open = async () => (await docker.getContainer((await berth.container("tools-box")).serviceName).top()).Processes.flat().join(" ");
    await eventually("the shell to end with its tab", async () => !(await open()).includes("bash"));
    t.strictSame(troubles, []);
  });
}
