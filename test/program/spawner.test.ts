import { spawnSync } from "node:child_process";
import { createServer } from "node:http";
import { connect } from "node:net";
import { join } from "node:path";
import t, { type Test } from "tap";
import { openDriver } from "../../drivers/open.ts";
import { openRecords } from "../../drivers/process/records.ts";
import { systemClock } from "../../lib/clock.ts";
import { openLog } from "../../lib/log.ts";
import { type Berth, startBerth } from "../fixtures/berth.ts";
import { rolesBelow } from "../fixtures/processes.ts";
import { askSpawner, SPAWNER_KEY, startSpawner } from "../fixtures/spawner.ts";
import { tempFolder } from "../fixtures/temp-folder.ts";
import { eventually, PATIENCE_MS } from "../fixtures/eventually.ts";
import { startBerthProcess } from "../fixtures/berth-process.ts";
import { freePort, listen } from "../fixtures/server.ts";

const ROOT = join(import.meta.dirname, "../..");

/** Answers its own process id, after as long as it takes to boot. */
const SERVER = `console.log("the app began");
setTimeout(() => require("node:http").createServer((request, response) => {
  if (request.url === "/exit") process.exit(3);
  response.end(String(process.pid));
}).listen(Number(process.env.PORT), "127.0.0.1"), Number(process.env.BOOT_MS || 0));`;

const files = (folder: string, container: object) => ({
  [`dockerfiles/${folder}/Dockerfile`]: 'FROM node\nEXPOSE 8080\nCMD ["node", "server.cjs"]\n',
  [`dockerfiles/${folder}/server.cjs`]: SERVER,
  [`dockerfiles/${folder}/container.json`]: JSON.stringify(container),
});

/** 3 s of idleness, in the minutes of container.json. */
const SHORT_TIMEOUT = 0.05;

/** A control here, and a spawner elsewhere that runs its containers. */
async function openPair(t: Test, auth: "password" | "jwt") {
  const data = tempFolder(t);
  const at = tempFolder(t);
  const free = await freePort();
  const origin = `http://127.0.0.1:${free}`;
  const own: Record<string, string> = auth === "jwt" ? { DATAGROK_URL: `${origin}/api` } : {};
  const spawnerEnv = { BERTH_DRIVER: "process", ...own };
  let spawner = await startSpawner({ data: at, env: spawnerEnv });
  const dockerSettings = {
    grokSpawnerHost: "127.0.0.1",
    grokSpawnerPort: spawner.port,
    spawnerAuthMode: auth,
    proxyRequestTimeout: PATIENCE_MS,
    ...(auth === "password" ? { grokSpawnerApiKey: SPAWNER_KEY } : {}),
  };
  const env = {
    BERTH_DRIVER: "spawner",
    BERTH_EDGE_PORT: String(free),
    GROK_PARAMETERS: JSON.stringify({ dockerSettings }),
    ...(auth === "jwt" ? { BERTH_WEB_ROOT: origin } : {}),
  };
  const berth = await startBerth({ data, env });
  const records = openRecords(join(at, "spawner-data/processes"));
  t.teardown(async () => {
    await berth.stop();
    await spawner.stop();
    await endAll(join(at, "spawner-data/processes"));
  });
  const ask = async (name: string, path = "/") => berth.call(`/docker/containers/proxy/${(await berth.container(name)).id}${path}`);
  const restart = async () => {
    await spawner.kill();
    spawner = await startSpawner({ data: at, port: spawner.port, env: spawnerEnv });
  };
  return { berth, env, data, at, records, ask, restart, spawner: () => spawner };
}

/** Services outlive the spawner on purpose; what a test started ends with it. */
async function endAll(folder: string) {
  const tools = { clock: systemClock(), log: openLog({ level: "silent", name: "test" }) };
  const driver = await openDriver("process", { process: { folder, nodePath: process.execPath } }, tools);
  const call = { signal: AbortSignal.timeout(PATIENCE_MS) };
  for (const { service } of await driver.list(call)) await driver.destroy(service, call);
}

function isRefused(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    socket.once("connect", () => resolve(false)).once("error", ({ code }: NodeJS.ErrnoException) => resolve(code === "ECONNREFUSED"));
    socket.once("connect", () => socket.destroy());
  });
}

async function publish(berth: Berth, folders: Record<string, object>): Promise<void> {
  const packageJson = { "package.json": JSON.stringify({ name: "far", version: "1.0.0" }) };
  const answer = await berth.publish(
    "far",
    Object.assign(packageJson, ...Object.entries(folders).map(([name, json]) => files(name, json))) as Record<string, string>,
  );
  if (answer.status !== 200) throw new Error(await answer.text());
  for (const folder of Object.keys(folders)) {
    await eventually(`the image of ${folder} to be ready`, async () => {
      const { dockerfile } = await berth.container(`far-${folder}`);
      if (dockerfile.status === "error") throw new Error(await (await berth.call(`/docker/images/${dockerfile.id}`)).text());
      return dockerfile.status === "ready" ? true : undefined;
    });
  }
}

for (const auth of ["password", "jwt"] as const) {
  t.test(`published, woken, used, idle, crashed and recovered, through a spawner that knows us by ${auth}`, async (t) => {
    const { berth, records, ask } = await openPair(t, auth);
    await publish(berth, { lazy: { on_demand: true, shutdown_timeout: SHORT_TIMEOUT }, steady: { on_demand: true } });
    const pids = () => records.all().flatMap(({ running, process }) => (running ? [process?.pid] : []));
    t.strictSame(pids(), [], "nothing runs before the first request");

    const first = await ask("far-lazy");
    t.equal(first.status, 200);
    t.equal(Number(await first.text()), pids()[0]);
    const { id, serviceName } = await berth.container("far-lazy");
    t.match(records.find(serviceName)?.labels, { container: id, environment: "berth" });
    t.match(await (await berth.call(`/docker/containers/${id}/logs`)).text(), /the app began/);

    await berth.until("far-lazy", ["stopped by system"]);
    t.strictSame(pids(), [], "idle, it is gone");

    const steady = Number(await (await ask("far-steady")).text());
    const port = records.find((await berth.container("far-steady")).serviceName)?.port ?? 0;
    t.notOk(await isRefused(port), "it listens there");
    await ask("far-steady", "/exit");
    // A client that is accepted while it dies is cut off, as every client would be; its sockets may outlive its first thread.
    await eventually("the process to end and its port to be closed", async () => pids().length === 0 && (await isRefused(port)));
    const again = await ask("far-steady");
    const body = await again.text();
    t.equal(again.status, 200, body);
    t.not(Number(body), steady, "crashed, it is another one");
    t.strictSame(pids().length, 1);

    await berth.call(`/docker/containers/${(await berth.container("far-steady")).id}/stop?awaitStop=true`);
    t.strictSame(records.all(), [], "nothing is left");
  });
}

t.test("the spawner killed in the middle of a start, the request that waits is answered by what was starting", async (t) => {
  const { berth, records, ask, restart } = await openPair(t, "password");
  await publish(berth, { slow: { on_demand: true, environmentVars: { BOOT_MS: 4_000 } } });
  const waiting = ask("far-slow");
  const { serviceName } = await berth.container("far-slow");
  const pid = await eventually("it to boot", async () => records.find(serviceName)?.process?.pid);
  await restart();
  const answer = await waiting;
  t.equal(answer.status, 200);
  t.equal(Number(await answer.text()), pid);
  t.equal((await berth.container("far-slow")).status, "started");
  t.equal(records.all().length, 1);
});

t.test("an aborted start leaves nothing at the spawner, though the spawner finishes it without a waiting caller", async (t) => {
  const { berth, records } = await openPair(t, "password");
  await publish(berth, { slow: { environmentVars: { BOOT_MS: 60_000 } } });
  const { id, serviceName } = await berth.container("far-slow");
  await berth.call(`/docker/containers/${id}/run`);
  await eventually("it to boot", async () => records.find(serviceName)?.process?.pid);
  await berth.call(`/docker/containers/${id}/stop?awaitStop=true`);
  t.equal((await berth.container("far-slow")).status, "stopped by user");
  t.strictSame(records.all(), []);
});

t.test("while the spawner is away what runs is served; what is to be woken fails with the cause, and starts once it is back", async (t) => {
  const { berth, ask, at, spawner, records } = await openPair(t, "password");
  await publish(berth, { up: { on_demand: true }, down: { on_demand: true } });
  t.equal((await ask("far-up")).status, 200);
  const { port } = spawner();
  await spawner().kill();
  t.equal((await ask("far-up")).status, 200);
  const refused = await ask("far-down");
  t.ok(refused.status >= 500, String(refused.status));
  const second = await startSpawner({ data: at, port, env: { BERTH_DRIVER: "process" } });
  t.teardown(() => second.stop());
  await eventually("it to be woken", async () => (await ask("far-down")).status === 200);
  t.equal(records.all().length, 2);
});

t.test("a berth that opens its own spawner takes deploys beside its own, by its key and by no user's docker token", async (t) => {
  const data = tempFolder(t);
  const env = { BERTH_DRIVER: "process", BERTH_SPAWNER: "on", BERTH_SPAWNER_PORT: "0", X_API_KEY: SPAWNER_KEY };
  const berth = await startBerth({ data, env });
  t.teardown(() => berth.stop());
  const port = await eventually("the spawner's address", async () => Number(/spawner at \S+:(\d+)/.exec(berth.output())?.[1]));
  await publish(berth, { app: { on_demand: true } });
  const called = await berth.call(`/docker/containers/proxy/${(await berth.container("far-app")).id}/`);
  t.equal(called.status, 200);
  const services = JSON.parse((await askSpawner(port, "GET", "/services")).text) as { serviceName: string }[];
  t.strictSame(
    services.map(({ serviceName }) => serviceName),
    [(await berth.container("far-app")).serviceName],
  );
  const basic = { authorization: `Basic ${Buffer.from(`any:${berth.key}`).toString("base64")}` };
  const reply = await fetch(`${berth.api}/docker/token?service=datagrok-spawner`, { headers: basic });
  t.equal(reply.status, 400, "no token is issued for it");
  const docker = (await (await fetch(`${berth.api}/docker/token?service=docker-registry`, { headers: basic })).json()) as { token: string };
  t.equal((await askSpawner(port, "GET", "/services", { headers: { authorization: `Bearer ${docker.token}` } })).status, 401);
});

t.test("a berth's own spawner that is killed is there again, on the same port, while the rest goes on", async (t) => {
  const env = { BERTH_DRIVER: "process", BERTH_SPAWNER: "on", BERTH_SPAWNER_PORT: "0", X_API_KEY: SPAWNER_KEY };
  const berth = await startBerth({ data: tempFolder(t), env });
  t.teardown(() => berth.stop());
  const port = await eventually("the spawner's address", async () => Number(/spawner at \S+:(\d+)/.exec(berth.output())?.[1]));
  const before = rolesBelow(berth.pid);
  process.kill(before["spawner"]?.[0] ?? 0, "SIGKILL");
  await eventually("another one", async () => {
    const now = rolesBelow(berth.pid)["spawner"]?.[0];
    return now !== undefined && now !== before["spawner"]?.[0] ? true : undefined;
  });
  t.equal((await askSpawner(port, "GET", "/services")).status, 200);
  t.strictSame({ ...rolesBelow(berth.pid), spawner: undefined }, { ...before, spawner: undefined });
});

/** Runs a role that is expected to refuse to start. */
function refused(role: string, data: string, env: Record<string, string>) {
  return spawnSync(process.execPath, [join(ROOT, "berth.ts"), role], {
    cwd: data,
    encoding: "utf8",
    timeout: PATIENCE_MS,
    env: { PATH: process.env["PATH"] ?? "", BERTH_EDGE_PORT: "0", BERTH_SPAWNER_PORT: "0", BERTH_DATA: join(data, "data"), ...env },
  });
}

t.test("the key that everybody knows is refused beyond loopback, and only warned of in grok_spawner's place", async (t) => {
  const open = { BERTH_DRIVER: "process", BERTH_SPAWNER_HOST: "0.0.0.0" };
  const serve = refused("serve", tempFolder(t), { ...open, BERTH_SPAWNER: "on" });
  t.not(serve.status, 0);
  t.match(serve.stderr, /X_API_KEY/);
  const spawner = await startSpawner({ data: tempFolder(t), env: { ...open, X_API_KEY: "" } });
  t.teardown(() => spawner.stop());
  t.match(spawner.output(), /X_API_KEY is the default/);
  t.equal((await askSpawner(spawner.port, "GET", "/services", { headers: { "x-api-key": "test-x-api-key" } })).status, 200);
});

t.test("settings that contradict each other stop the start", async (t) => {
  const cases: [string, Record<string, string>, RegExp][] = [
    ["spawner", { BERTH_DRIVER: "spawner" }, /another one/],
    ["serve", { BERTH_DRIVER: "spawner" }, /BERTH_WEB_ROOT/],
  ];
  for (const [role, env, body] of cases) {
    const answer = refused(role, tempFolder(t), env);
    t.not(answer.status, 0);
    t.match(answer.stderr, body);
    t.notMatch(answer.stderr, /\bat .*\.ts:\d+/);
  }
});

t.test("the names that grok_spawner has are taken", async (t) => {
  const spawner = await startSpawner({
    data: tempFolder(t),
    env: {
      BERTH_DRIVER: "process",
      X_API_KEY: "",
      GROK_SPAWNER_X_API_KEY: "old-name",
      GROK_SPAWNER_ENVIRONMENT: "stand",
      GROK_SPAWNER_CORE_MODE: "false",
      GROK_SPAWNER_DATAGROK_API_URL: "http://datagrok:8080/api",
    },
  });
  t.teardown(() => spawner.stop());
  t.match(JSON.parse((await askSpawner(spawner.port, "GET", "/info", { headers: {} })).text), { environment: "stand" });
  t.equal((await askSpawner(spawner.port, "GET", "/services", { headers: { "x-api-key": "old-name" } })).status, 200);
  t.notMatch(spawner.output(), "old-name");
});

/** A Datagrok server's keys: absent at first. */
async function openKeyServer(t: Test) {
  const requests: string[] = [];
  let ready = false;
  const server = createServer((request, response) => {
    requests.push(request.url ?? "");
    const bodies: Record<string, object> = { "/api/docker/keys": { keys: [] }, "/api/admin/startup_data": { webRoot: "http://datagrok" } };
    const body = ready ? bodies[request.url ?? ""] : undefined;
    response.writeHead(body === undefined ? 503 : 200, { "content-type": "application/json" }).end(JSON.stringify(body ?? {}));
  });
  const { port } = await listen(t, server);
  return { url: `http://127.0.0.1:${port}/api`, requests, open: () => (ready = true) };
}

for (const role of ["spawner", "registry-proxy"] as const) {
  t.test(`the ${role} fetches a foreign server's keys at its start, and tries again while that server is down`, async (t) => {
    const keys = await openKeyServer(t);
    const env = {
      DATAGROK_URL: keys.url,
      BERTH_DRIVER: "process",
      BERTH_SPAWNER_PORT: "0",
      BERTH_REGISTRY_PORT: "0",
      REGISTRY_URL: "http://127.0.0.1:1",
    };
    const data = tempFolder(t);
    const started = await startBerthProcess({
      role,
      cwd: data,
      env: { ...env, BERTH_DATA: data, X_API_KEY: SPAWNER_KEY },
      announces: /at http:\/\/\S+:(\d+)/,
    });
    t.teardown(() => started.end("SIGTERM"));
    await eventually("it has requested them more than once", () => keys.requests.filter((path) => path === "/api/docker/keys").length > 1);
    t.match(started.output(), /loading the keys of tokens failed/);
    keys.open();
    const before = keys.requests.length;
    await eventually("it requests them again", () => keys.requests.slice(before).includes("/api/docker/keys"));
    await eventually("and for the issuer", () => keys.requests.slice(before).includes("/api/admin/startup_data"));
  });
}
