import { once } from "node:events";
import { join } from "node:path";
import t from "tap";
import { WebSocket } from "ws";
import { ADMIN_KEY, type Berth, startBerth } from "../fixtures/berth.ts";
import { eventually } from "../fixtures/eventually.ts";
import { tempFolder } from "../fixtures/temp-folder.ts";
import { look } from "../cli/doctor/look.ts";

const SENTENCE = /Containers are disabled on this server: dockerSettings\.useGrokSpawner is off/;
const OFF = { GROK_PARAMETERS: JSON.stringify({ dockerSettings: { useGrokSpawner: false } }) };
const SERVER = 'require("node:http").createServer((request, response) => response.end("here")).listen(Number(process.env.PORT), "127.0.0.1");';
const FILES = {
  "package.json": JSON.stringify({ name: "Off", version: "1.0.0" }),
  "dockerfiles/app/Dockerfile": 'FROM node\nEXPOSE 8080\nCMD ["node", "server.cjs"]\n',
  "dockerfiles/app/server.cjs": SERVER,
  "dockerfiles/app/container.json": JSON.stringify({ on_demand: true }),
};
const proxied = async (berth: Berth) => berth.call(`/docker/containers/proxy/${(await berth.container("off-app")).id}/`);

for (const [name, driver] of [
  ["an engine that is not there", { BERTH_DRIVER: "docker", DOCKER_HOST: "unix:///no/such/engine.sock" }],
  ["a spawner that is not there", { BERTH_DRIVER: "spawner", BERTH_WEB_ROOT: "http://127.0.0.1" }],
] as const) {
  t.test(`without containers, with ${name}: packages are published, and calls and starts say so at once`, async (t) => {
    const data = tempFolder(t);
    const berth = await startBerth({ data, env: { ...OFF, ...driver } });
    t.teardown(() => berth.stop());
    const published = await berth.publish("Off", FILES);
    t.equal(published.status, 200);
    t.match(await published.text(), SENTENCE, "the author learns it");
    const entity = await berth.container("off-app");
    t.match(entity, { status: "stopped by system", dockerfile: { status: "pending validation" } });
    t.match(entity.lastLogs, SENTENCE);
    t.match(entity.dockerfile.logs, SENTENCE);
    const call = await proxied(berth);
    t.equal(call.status, 400);
    t.match(((await call.json()) as { "datagrok-error": string })["datagrok-error"], SENTENCE);
    const socket = new WebSocket(`${berth.api.replace("http", "ws")}/docker/containers/proxy-ws/${entity.id}/`, {
      headers: { cookie: `auth=${encodeURIComponent(berth.token)}` },
    });
    const [code, reason] = (await once(socket, "close")) as [number, Buffer];
    t.match([code, String(reason)], [1008, /^Containers are disabled/]);
    const run = await berth.call(`/docker/containers/${entity.id}/run?awaitStart=true`);
    t.equal(run.status, 400);
    t.match(await run.json(), { "#type": "ApiError", message: SENTENCE });
    t.match(await (await berth.call(`/docker/containers/${entity.id}/explain`)).json(), { why: SENTENCE });
    t.match(berth.output(), /containers are disabled: dockerSettings\.useGrokSpawner is off/);
    t.notMatch(berth.output(), /unreachable|no\/such\/engine/, "no driver was opened");
    const env = { ...OFF, ...driver, BERTH_DATA: join(data, "berth-data"), BERTH_ADMIN_KEY: ADMIN_KEY, BERTH_EDGE_PORT: new URL(berth.base).port };
    const rows = await look(t, ["settings", "address", "certificate", "berth", "driver", "container"], env);
    t.match(JSON.stringify(rows["driver"]), /Containers are disabled: dockerSettings\.useGrokSpawner is off/);
    t.match(rows["container"], { state: "not looked at" });
  });
}

t.test("disabled and enabled again, what was published meanwhile is validated and starts", async (t) => {
  const data = tempFolder(t);
  const before = await startBerth({ data, env: { BERTH_DRIVER: "process" } });
  t.equal((await before.publish("Off", FILES)).status, 200);
  await eventually("it answers", async () => (await proxied(before)).status === 200);
  t.equal((await before.container("off-app")).status, "started");
  await before.kill();

  const off = await startBerth({ data, env: { ...OFF, BERTH_DRIVER: "process" } });
  t.equal((await off.container("off-app")).status, "error", "it may run, but is out of reach");
  t.equal((await proxied(off)).status, 400);
  t.equal(
    (
      await off.publish("Off", {
        ...FILES,
        "dockerfiles/other/Dockerfile": FILES["dockerfiles/app/Dockerfile"],
        "dockerfiles/other/server.cjs": SERVER,
      })
    ).status,
    200,
  );
  await off.kill();

  const on = await startBerth({ data, env: { BERTH_DRIVER: "process" } });
  t.teardown(() => on.stop());
  await eventually("it answers again", async () => (await proxied(on)).status === 200);
  const { id } = await on.container("off-other");
  await eventually("the new one is validated", async () => (await on.container("off-other")).dockerfile.status === "ready");
  t.equal((await on.call(`/docker/containers/${id}/run?awaitStart=true`)).status, 200);
});
