import { execFile } from "node:child_process";
import { writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { join } from "node:path";
import t, { type Test } from "tap";
import { ADMIN_KEY, type Berth, type Entity, eventually, startBerth } from "../fixtures/berth.ts";
import { openEngine } from "../fixtures/engine.ts";
import { buildTestImages } from "../fixtures/images.ts";
import { tempFolder } from "../fixtures/temp-folder.ts";
import { listen } from "../gateway/stand.ts";

/**
 * `berth import` on a real Docker engine. The server that is left tells of containers as its REST does (a list of entities over HTTP: that, and no more, is a
 * fake here), of which one really runs, made by hand as grok_spawner would.
 */
const ROOT = join(import.meta.dirname, "../..");
const KEY = "foreign-dev-key";
const IDS = {
  image: "aaaaaaaa-0000-4000-8000-000000000001",
  running: "bbbbbbbb-0000-4000-8000-000000000001",
  asleep: "bbbbbbbb-0000-4000-8000-000000000002",
};
const engine = openEngine();
const images = await buildTestImages(engine.docker, ["onDemand"]);
const network = `berth-import-${process.pid}`;
const service = `cvm-plugin-square-${process.pid}`;
const env = { BERTH_DRIVER: "docker", BERTH_DOCKER_NETWORK: network, GROK_SPAWNER_ENVIRONMENT: `import-${process.pid}` };

type Server = { url: string; images: Record<string, unknown>[]; containers: Record<string, unknown>[] };

async function openServer(t: Test): Promise<Server> {
  const image = { id: IDS.image, name: "plugin-square", version: "1.0.0", imageRef: images.onDemand, status: "ready", author: { login: "ada" } };
  const container = { dockerfile: { id: IDS.image }, environmentVars: { OWN: "yes" }, author: { login: "ada" } };
  const server: Server = {
    url: "",
    images: [image],
    containers: [
      {
        ...container,
        id: IDS.running,
        name: "plugin-square",
        status: "started",
        serviceName: service,
        address: "10.0.0.1",
        port: 15353,
        config: { on_demand: true },
      },
      { ...container, id: IDS.asleep, name: "plugin-other", status: "stopped by user", serviceName: "gone", address: null, port: null },
    ],
  };
  const http = createServer((asked, answer) => {
    const { pathname, searchParams } = new URL(asked.url ?? "", "http://server");
    const say = (status: number, body: unknown) => answer.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
    if (pathname === "/api/users/login/dev")
      return say(asked.headers.authorization === `Dev ${KEY}` ? 200 : 401, { isSuccess: true, token: "session" });
    if (asked.headers.authorization !== "session") return say(401, { "#type": "ApiError", message: "no" });
    const all = { "/api/docker/images": server.images, "/api/docker/containers": server.containers }[pathname];
    if (all === undefined) return say(404, { "#type": "ApiError", message: "no" });
    const [limit, page] = [Number(searchParams.get("limit")), Number(searchParams.get("page"))];
    say(200, all.slice((page - 1) * limit, page * limit));
  });
  const { port } = await listen(t, http);
  server.url = `http://127.0.0.1:${port}`;
  return server;
}

/** As grok_spawner makes one: on a network of its own, with no label of ours. */
async function makeByHand(t: Test, name: string) {
  const own = await engine.docker.createNetwork({ Name: `${network}-foreign`, Driver: "bridge" });
  const made = await engine.docker.createContainer({ Image: images.onDemand, name, HostConfig: { NetworkMode: `${network}-foreign` } });
  await made.start();
  t.teardown(async () => {
    await made.remove({ force: true }).catch(() => undefined);
    await own.remove();
  });
  return made;
}

async function open(t: Test) {
  const data = tempFolder(t);
  const berth = await startBerth({ data, env });
  t.teardown(async () => {
    await berth.stop();
    const left = await engine.docker.listContainers({ all: true, filters: { label: [`berth.environment=${env.GROK_SPAWNER_ENVIRONMENT}`] } });
    await Promise.all(left.map((one) => engine.docker.getContainer(one.Id).remove({ force: true })));
    await engine.docker
      .getNetwork(network)
      .remove()
      .catch(() => undefined);
  });
  const keyFile = join(data, "foreign.key");
  writeFileSync(keyFile, `${KEY}\n`);
  const run = (args: string[], more: Record<string, string> = {}) =>
    new Promise<{ code: number; stdout: string; stderr: string }>((resolve) => {
      const variables = { PATH: process.env["PATH"] ?? "", BERTH_DATA: join(data, "berth-data"), BERTH_ADMIN_KEY: ADMIN_KEY, ...more };
      const child = execFile(
        process.execPath,
        [join(ROOT, "berth.ts"), "import", ...args],
        { cwd: data, env: variables, timeout: 60_000 },
        (error, stdout, stderr) => resolve({ code: error === null ? 0 : 1, stdout, stderr }),
      );
      child.stdin?.end(KEY);
    });
  return { berth, keyFile, run };
}

const count = async (berth: Berth) => Number(await (await berth.call("/docker/containers/count")).text());
const square = (berth: Berth, id = IDS.running) => berth.call(`/docker/containers/proxy/${id}/square?number=5`);

t.test("containers of another server are taken over, the one that runs without being restarted", async (t) => {
  const server = await openServer(t);
  const made = await makeByHand(t, service);
  const startedAt = (await made.inspect()).State.StartedAt;
  const { berth, keyFile, run } = await open(t);
  await berth.call("/users", { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ login: "ada" }) });

  t.test("nothing is done before it was said what, and agreed to", async (t) => {
    const dry = await run([server.url, "--key-file", keyFile, "--adopt", "--dry-run"]);
    t.equal(dry.code, 0);
    t.match(dry.stdout, new RegExp(`adopt +container +plugin-square +${IDS.running} +started +ada`));
    const unsure = await run([server.url, "--key-file", "-", "--adopt"]);
    t.equal(unsure.code, 1);
    t.equal(await count(berth), 0);
  });

  t.test("what cannot be read stops all of it, and is named", async (t) => {
    const before = structuredClone(server.containers);
    server.containers[1] = { ...server.containers[1], serviceName: 5 };
    const wrong = await run([server.url, "--key-file", keyFile, "--yes"]);
    server.containers = before;
    t.equal(wrong.code, 1);
    t.match(wrong.stderr, new RegExp(`plugin-other.*${IDS.asleep}.*serviceName`));
    t.equal((await run([server.url, "--yes"], { BERTH_DATAGROK_KEY: "wrong-dev-key" })).code, 1);
    t.equal(await count(berth), 0);
  });

  t.test("with their ids, and what runs is called through berth as it is", async (t) => {
    const done = await run([`${server.url}/api`, "--adopt", "--yes"], { BERTH_DATAGROK_KEY: KEY });
    t.equal(done.code, 0, done.stderr);
    t.notOk([done.stdout, done.stderr].join("").includes(KEY));
    const { status, serviceName } = (await (await berth.call(`/docker/containers/${IDS.running}`)).json()) as Entity;
    t.same([status, serviceName], ["started", service]);
    const answer = await square(berth);
    t.equal(answer.status, 200);
    t.same(await answer.json(), { result: 25 });
    t.equal((await made.inspect()).State.StartedAt, startedAt);
    t.equal(((await (await berth.call(`/docker/containers/${IDS.asleep}`)).json()) as Entity).status, "stopped by user");
    t.equal((await square(berth, IDS.asleep)).status, 400);
    t.match(await (await berth.call(`/docker/containers/${IDS.running}/logs`)).text(), "square listens");
  });

  t.test("done again, it leaves what is here as it is", async (t) => {
    const again = await run([server.url, "--key-file", keyFile, "--adopt", "--yes"]);
    t.equal(again.code, 0);
    t.match(again.stdout, /is here already/);
    t.notMatch(again.stdout, /^(import|adopt)/m);
    t.equal(await count(berth), 2);
  });

  t.test("it is still known after berth has come back, and is no orphan", async (t) => {
    await berth.kill();
    t.equal((await made.inspect()).State.StartedAt, startedAt);
  });
});
