import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { get } from "node:http";
import { join } from "node:path";
import t from "tap";
import { type Berth, startBerth } from "../fixtures/berth.ts";
import { isAlive, rolesBelow } from "../fixtures/processes.ts";
import { tempFolder } from "../fixtures/temp-folder.ts";
import { eventually, PATIENCE_MS } from "../fixtures/eventually.ts";

/** The processes of one berth, over real sockets; containers are child processes, so that no engine is needed. */
const ROOT = join(import.meta.dirname, "../..");
const env = { BERTH_DRIVER: "process" };
const DEMO = join(ROOT, "conf/demo/dockerfiles/square");
const FILES = {
  "package.json": JSON.stringify({ name: "roles", version: "1.0.0" }),
  ...Object.fromEntries(readdirSync(DEMO).map((name) => [`dockerfiles/square/${name}`, readFileSync(join(DEMO, name), "utf8")])),
};

/** `fetch` might reuse a connection that the killed gateway held. */
function statusOnNewConnection(url: string, token: string): Promise<number | undefined> {
  return new Promise((resolve, reject) => {
    get(url, { agent: false, headers: { authorization: token } }, (answer) => resolve(answer.resume().statusCode)).once("error", reject);
  });
}

async function published(berth: Berth): Promise<string> {
  const answer = await berth.publish("roles", FILES);
  if (answer.status !== 200) throw new Error(await answer.text());
  return eventually("the image to be ready", async () => {
    const entity = await berth.container("roles-square");
    return entity.dockerfile.status === "ready" ? `/docker/containers/proxy/${entity.id}/square?number=4` : undefined;
  });
}

/** Runs a berth that is expected to refuse to start. */
function refused(data: string, more: Record<string, string>) {
  return spawnSync(process.execPath, [join(ROOT, "berth.ts"), "serve"], {
    cwd: data,
    encoding: "utf8",
    timeout: PATIENCE_MS,
    env: { PATH: process.env["PATH"] ?? "", BERTH_EDGE_PORT: "0", BERTH_CONSOLE_PORT: "0", BERTH_DATA: join(data, "berth-data"), ...env, ...more },
  });
}

t.test("a killed gateway loses no connection that was waiting, and is replaced", async (t) => {
  const berth = await startBerth({ data: tempFolder(t), env });
  t.teardown(() => berth.stop());
  const square = await published(berth);
  t.equal((await berth.call(square)).status, 200);
  const [victim] = rolesBelow(berth.pid)["gateway"] ?? [];
  process.kill(victim ?? 0, "SIGKILL");
  await eventually("the gateway to be gone", async () => (isAlive(victim ?? 0) ? undefined : true));
  const waited = await Promise.all(Array.from({ length: 20 }, () => statusOnNewConnection(`${berth.api}${square}`, berth.token)));
  t.ok(waited.every((status) => status === 200));
  t.not(rolesBelow(berth.pid)["gateway"]?.[0], victim);
});

t.test("while control is away, containers that run are served; then control comes back", async (t) => {
  const berth = await startBerth({ data: tempFolder(t), env });
  t.teardown(() => berth.stop());
  const square = await published(berth);
  t.equal((await berth.call(square)).status, 200);
  const [victim] = rolesBelow(berth.pid)["control"] ?? [];
  process.kill(victim ?? 0, "SIGKILL");
  for (let i = 0; i < 10; i++) t.equal((await berth.call(square)).status, 200);
  await eventually("the API to answer again", async () => (await berth.call("/docker/containers")).status === 200);
  t.equal((await berth.call(square)).status, 200);
});

t.test("kill -9 of the whole leaves no process behind and frees the port", async (t) => {
  const data = tempFolder(t);
  const first = await startBerth({ data, env });
  const port = new URL(first.base).port;
  const children = Object.values(rolesBelow(first.pid)).flat();
  t.equal(children.length, 2);
  await first.kill();
  const second = await startBerth({ data, env: { ...env, BERTH_EDGE_PORT: port } });
  t.teardown(() => second.stop());
  t.equal(new URL(second.base).port, port);
  t.notOk(children.some(isAlive));
});

t.test("a second berth on the same data folder, or the same port, is refused in one sentence", async (t) => {
  const data = tempFolder(t);
  const berth = await startBerth({ data, env });
  t.teardown(() => berth.stop());
  const sameFolder = refused(data, {});
  t.not(sameFolder.status, 0);
  t.match(sameFolder.stderr, /another berth/i);
  const samePort = refused(tempFolder(t), { BERTH_EDGE_PORT: new URL(berth.base).port });
  t.not(samePort.status, 0);
  t.match(samePort.stderr, /in use.*BERTH_EDGE_PORT/);
  const sameConsole = refused(tempFolder(t), { BERTH_CONSOLE_PORT: new URL(berth.base).port });
  t.not(sameConsole.status, 0);
  t.match(sameConsole.stderr, /in use.*BERTH_CONSOLE_PORT/);
  t.equal((await berth.call("/docker/containers")).status, 200);
});

t.test("without an engine, `auto` waits for one instead of running plain processes", async (t) => {
  const data = tempFolder(t);
  const berth = await startBerth({ data, env: { ...env, BERTH_DRIVER: "auto", DOCKER_HOST: `unix://${data}/none.sock` } });
  t.teardown(() => berth.stop());
  t.equal((await berth.publish("roles", FILES)).status, 200);
  await eventually("the image to be judged", async () => (await berth.container("roles-square")).dockerfile.status === "error");
  const { id, dockerfile } = await berth.container("roles-square");
  t.match(await (await berth.call(`/docker/images/${dockerfile.id}`)).json(), { logs: /ENGINE_UNREACHABLE/ });
  t.not((await berth.call(`/docker/containers/${id}/run?awaitStart=true`)).status, 200);
  t.notOk(existsSync(join(data, "berth-data/processes")), "no process was started");
  t.match(berth.output(), `unix://${data}/none.sock`, "the engine that was looked for is named");
  t.match(berth.output(), /"entity":"(sweep|container:|image:)/, "and what waits for it");
  t.notMatch(berth.output(), /\bat .*\.ts:\d+/, "without a stack trace");
});

t.test("a console with a host name of its own is refused where its button Open could not find the edge", async (t) => {
  const data = tempFolder(t);
  for (const more of [{}, { BERTH_WEB_ROOT: "https://Console.example" }]) {
    const answer = refused(data, { BERTH_CONSOLE_HOST: "console.example", ...more });
    t.not(answer.status, 0);
    t.match(answer.stderr, /^berth: BERTH_CONSOLE_HOST .*BERTH_WEB_ROOT/m);
    t.equal(answer.stderr.trim().split("\n").length, 1, "one sentence");
  }
});

t.test("settings that are wrong stop the start with a line for each", async (t) => {
  const answer = refused(tempFolder(t), { BERTH_WORKERS: "many", BERTH_EDGE_PROT: "8080", BERTH_DRIVER: "podman" });
  t.not(answer.status, 0);
  for (const name of ["BERTH_WORKERS", "BERTH_DRIVER"]) t.match(answer.stderr, name);
  t.match(answer.stderr, /BERTH_EDGE_PROT.*BERTH_EDGE_PORT/);
  t.notMatch(answer.stderr, /\bat .*\.ts:\d+/, "no stack trace for a person");
});

t.test("a data folder that cannot be used is named, and nothing is started", async (t) => {
  const data = tempFolder(t);
  writeFileSync(join(data, "berth-data"), "a file where a folder should be");
  const answer = refused(data, {});
  t.not(answer.status, 0);
  t.match(answer.stderr, /berth-data/);
  t.equal(readFileSync(join(data, "berth-data"), "utf8"), "a file where a folder should be");
});

t.test("an admin key that is not set is made once, printed once and kept for this user alone", async (t) => {
  const data = tempFolder(t);
  const unset = { ...env, BERTH_ADMIN_KEY: "" };
  const first = await startBerth({ data, env: unset });
  await first.stop();
  const file = join(data, "berth-data/admin.key");
  t.equal(statSync(file).mode & 0o777, 0o600);
  t.match(first.output(), readFileSync(file, "utf8").trim());
  const second = await startBerth({ data, env: unset });
  t.teardown(() => second.stop());
  t.equal(second.key, first.key);
  t.notMatch(second.output(), first.key);
});
