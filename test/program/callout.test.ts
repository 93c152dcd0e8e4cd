import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import { startBerth } from "../fixtures/berth.ts";
import { eventually } from "../fixtures/eventually.ts";
import { freePort } from "../fixtures/server.ts";
import { tempFolder } from "../fixtures/temp-folder.ts";

const SECRET = "callout-secret-of-thirty-two-bytes";
const FILES = {
  "package.json": JSON.stringify({ name: "web", version: "1.0.0" }),
  "dockerfiles/app/Dockerfile": 'FROM node:26-alpine\nWORKDIR /app\nCOPY server.mjs .\nEXPOSE 5000\nCMD ["node", "server.mjs"]\n',
  "dockerfiles/app/container.json": JSON.stringify({ on_demand: true, shutdown_timeout: 0.05 }),
  "dockerfiles/app/server.mjs": `
    import { createServer } from "node:http";
    process.on("SIGTERM", () => process.exit(0));
    createServer((request, response) => response.end(request.url + " " + request.headers["x-user-api-key"])).listen(Number(process.env.PORT ?? 5000));
  `,
};

/** The command of the page with `curl`, as it stands there but for the port. */
function pageCommand(port: number): string {
  const page = readFileSync(join(import.meta.dirname, "../../docs/callout.md"), "utf8");
  const command = [...page.matchAll(/```sh\n(.*?)```/gs)].map(([, text = ""]) => text).find((text) => text.startsWith("curl"));
  return command?.replace(":8082/", `:${port}/`) ?? "false";
}

async function open(t: Test) {
  const port = await freePort();
  const berth = await startBerth({
    data: tempFolder(t),
    env: {
      BERTH_DRIVER: "process",
      BERTH_WORKERS: "2",
      BERTH_CALLOUT_PORT: String(port),
      BERTH_CALLOUT_SECRET: SECRET,
      BERTH_CALLOUT_ACTIVE_SECONDS: "1",
    },
  });
  t.teardown(() => berth.stop());
  const response = await berth.publish("web", FILES);
  if (response.status !== 200) throw new Error(await response.text());
  const { id } = await eventually("the image", async () => {
    const entity = await berth.container("web-app");
    return entity.dockerfile.status === "ready" ? entity : undefined;
  });
  return { berth, port, id };
}

t.test("the page's example wakes a container and names where it is; it stops after the last use, not while a connection is open", async (t) => {
  const { berth, port, id } = await open(t);
  const env = { ...process.env, ID: id, TOKEN: berth.token, BERTH_CALLOUT_SECRET: SECRET };
  const answer = execFileSync("sh", ["-c", pageCommand(port)], { env, encoding: "utf8" });
  t.match(answer, /^HTTP\/1\.1 200 /);
  const header = (name: string) => new RegExp(`^${name}: (.*)\r$`, "im").exec(answer)?.[1] ?? "";
  t.equal(header("x-berth-path"), "/");
  const key = header("x-berth-user-api-key");
  t.not(key, berth.token);
  const body = await (await fetch(`http://${header("x-berth-upstream")}/direct`, { headers: { "x-user-api-key": key } })).text();
  t.equal(body, `/direct ${key}`, "the container answers there");
  // Several times its limit.
  const begin = performance.now();
  await eventually("some seconds of an open connection", async () => {
    const report = await fetch(`http://127.0.0.1:${port}/report?${id}:1:0`, { headers: { "x-berth-callout-secret": SECRET } });
    if (!report.ok) throw new Error(await report.text());
    await report.arrayBuffer();
    return performance.now() - begin > 8_000;
  });
  t.equal((await berth.container("web-app")).status, "started");
  await berth.until("web-app", ["stopped by system"]);
  t.equal((await fetch(`http://127.0.0.1:${port}/decide`)).status, 403, "without the secret");
});
