/**
 * `npm run screenshot`: writes the pictures of the console in docs/. console.png, which README.md shows, is the page of a container with its starts and open
 * requests.
 */
import { statSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { appFiles, openStand } from "../../program/contract/stand.ts";
import { ADMIN_KEY } from "../api/fixtures/open-api-fixture.ts";
import { openMeasured } from "./fixtures/measured.ts";
import { openConsole } from "./fixtures/open-console.ts";

const DOCS = join(import.meta.dirname, "../../../docs");
const PICTURE = join(DOCS, "console.png");
const MAX_BYTES = 150_000;

/** Boots for half a second, as a model that loads its weights; keeps `/stream` open. */
const SERVER = `const { createServer } = require("node:http");
console.log("loading weights/solubility-v3.onnx");
const server = createServer((request, response) => {
  console.log(request.method, request.url);
  if (request.url === "/stream") return response.write("event: progress\\n\\n");
  response.end('{"logS": -2.71}');
});
setTimeout(() => server.listen(Number(process.env.PORT), "127.0.0.1", () => console.log("model ready")), 500);`;
const FILES = {
  ...appFiles("model", "1", { on_demand: true, shutdown_timeout: 5, cpu: 2, memory: 2048 }),
  "dockerfiles/model/server.cjs": SERVER,
  ...appFiles("converter", "1", { on_demand: true }),
};

t.test("the picture of the console", async (t) => {
  const berth = await openStand(t);
  await berth.published("chem", FILES);
  const { id } = await berth.container("chem-model");
  const { page, signIn, troubles } = await openConsole(t, berth.base);
  await signIn(berth.key);
  await page.getByRole("link", { name: "chem-model", exact: true }).click();
  await berth.call(`/docker/containers/proxy/${id}/predict`);
  const controller = new AbortController();
  await berth.call(`/docker/containers/proxy/${id}/stream`, { signal: controller.signal });
  await page.locator("h1 .status.good", { hasText: "started" }).waitFor();
  await page.locator(".waterfall .bar.boot").waitFor();
  await page.getByRole("region", { name: "Open requests" }).getByRole("cell", { name: "admin" }).waitFor();
  await page.screenshot({ path: PICTURE });
  controller.abort();
  t.same(troubles, []);
  t.ok(statSync(PICTURE).size < MAX_BYTES, "small enough for the repository");
});

t.test("the pictures of the overview and the list", async (t) => {
  const { base } = await openMeasured(t);
  for (const [name, path, options, shows] of [
    ["console-overview", "overview", {}, "Most requests"],
    ["console-containers-dark", "containers", { dark: true }, "molecule-docking"],
  ] as const) {
    const { page, signIn } = await openConsole(t, base, { ...options, at: path });
    await signIn(ADMIN_KEY);
    await page.getByText(shows).first().waitFor();
    if (path === "overview") await page.locator(".chart canvas").nth(5).waitFor();
    else await page.setViewportSize({ width: 1_280, height: 420 });
    const file = join(DOCS, `${name}.png`);
    await page.screenshot({ path: file });
    t.ok(statSync(file).size < MAX_BYTES, `${name} is small enough for the repository`);
  }
});
