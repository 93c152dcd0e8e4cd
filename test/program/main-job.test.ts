import t from "tap";
import { WebSocket } from "ws";
import { type Berth, startBerth } from "../fixtures/berth.ts";
import { openEngine, startsOf } from "../fixtures/engine.ts";
import { buildTestImages, tagOwnImage } from "../fixtures/images.ts";
import { talkTo } from "../fixtures/talk.ts";
import { tempFolder } from "../fixtures/temp-folder.ts";
import { eventually } from "../fixtures/eventually.ts";
import { pause } from "../fixtures/clock.ts";

/**
 * The walk of a plugin's containers over a real Docker engine, seen from outside alone: publish, ready, asleep, woken,
 * answering, stopped again, and all of it once more after `kill -9`.
 */
const engine = openEngine();
const images = await buildTestImages(engine.docker);
const own = await tagOwnImage(engine.docker, images.onDemand, "walk-ondemand");
const data = tempFolder(t);
// One network and one environment of its own, so that berths in other tests do not meet.
const env = {
  BERTH_DRIVER: "docker",
  BERTH_DOCKER_NETWORK: `berth-walk-${process.pid}`,
  GROK_SPAWNER_ENVIRONMENT: `walk-${process.pid}`,
  GROK_PARAMETERS: JSON.stringify({ dockerSettings: { proxyRequestTimeout: 30_000 } }),
};

/** 3 s of idleness, in the minutes of container.json. */
const SHORT_TIMEOUT = 0.05;

const FILES = {
  "package.json": JSON.stringify({ name: "@datagrok/Walk", version: "1.0.0", friendlyName: "Walk" }),
  "dockerfiles/ondemand/Dockerfile": "FROM scratch\nEXPOSE 15353\n",
  "dockerfiles/ondemand/image.json": JSON.stringify({ image: own, fallback: false }),
  "dockerfiles/ondemand/container.json": JSON.stringify({ on_demand: true, shutdown_timeout: SHORT_TIMEOUT, cpu: 0.5, memory: 256 }),
  "dockerfiles/plain/container.json": JSON.stringify({ image: images.plain, port: 5353 }),
  "dockerfiles/postgres/container.json": JSON.stringify({ image: images.tcpOnly }),
  "dockerfiles/worker/container.json": JSON.stringify({ image: images.worker }),
  "dockerfiles/crash/container.json": JSON.stringify({ image: images.crashing, on_demand: true }),
  "dockerfiles/slow/container.json": JSON.stringify({ image: images.slow, on_demand: true }),
  "dockerfiles/brief/container.json": JSON.stringify({
    image: images.onDemand,
    port: 15_353,
    on_demand: true,
    max_minutes: 0.1,
    shutdown_grace_seconds: 20,
  }),
};

const NAMES = {
  onDemand: "walk-ondemand",
  plain: "walk-plain",
  postgres: "walk-postgres",
  worker: "walk-worker",
  crash: "walk-crash",
  slow: "walk-slow",
  brief: "walk-brief",
};
const UNKNOWN = "3f1c9a52-7b0e-4d16-9a41-0123456789ab";

let berth: Berth = await startBerth({ data, env });
t.teardown(async () => {
  await berth.stop();
  const left = await engine.docker.listContainers({ all: true, filters: { label: [`berth.environment=${env.GROK_SPAWNER_ENVIRONMENT}`] } });
  await Promise.all(left.map((one) => engine.docker.getContainer(one.Id).remove({ force: true })));
  await engine.docker.getNetwork(env.BERTH_DOCKER_NETWORK).remove();
});

const running = async (name: string) => {
  const { serviceName } = await berth.container(name);
  const containers = await engine.docker.listContainers({ filters: { name: [serviceName] } });
  return containers.length;
};
const ask = async (name: string, path: string, init?: RequestInit) =>
  berth.call(`/docker/containers/proxy/${(await berth.container(name)).id}${path}`, init);

const talk = async (name: string, path: string, say: string[], replies: number) =>
  talkTo(berth, (await berth.container(name)).id, path, say, replies);

t.test("a published package has its containers, asleep or stopped, and its images become ready", async (t) => {
  const answer = await berth.publish("@datagrok/Walk", FILES);
  t.equal(answer.status, 200, await answer.clone().text());
  t.not(((await answer.json()) as Record<string, unknown>)["#type"], "ApiError");
  for (const name of Object.values(NAMES)) {
    await eventually(`${name}'s image to be ready`, async () => (await berth.container(name)).dockerfile.status === "ready");
  }
  t.equal((await berth.container(NAMES.onDemand)).status, "stopped by system");
  t.equal((await berth.container(NAMES.plain)).status, "stopped by user");
  t.equal(await running(NAMES.onDemand), 0);
});

t.test("the first request wakes a sleeping container and says where the time went", async (t) => {
  const answer = await ask(NAMES.onDemand, "/square?number=4");
  t.equal(answer.status, 200);
  t.same(await answer.json(), { result: 16 });
  const phases = (answer.headers.get("server-timing") ?? "").split(/,\s*/).map((phase) => phase.split(";")[0]);
  for (const phase of ["queue", "create", "boot", "connect"]) t.ok(phases.includes(phase), `${phase} in ${phases.join()}`);
  t.equal((await berth.container(NAMES.onDemand)).status, "started");
  t.equal(await running(NAMES.onDemand), 1);
  const again = await ask(NAMES.onDemand, "/square?number=5");
  t.same(await again.json(), { result: 25 });
  t.equal(again.headers.get("server-timing"), null, "a request that did not wait says nothing of waiting");
});

t.test("the container's own failures pass with their reason phrase", async (t) => {
  for (const [status, reason] of [
    [404, "Nothing Of That Kind"],
    [500, "Squares Ran Out"],
  ] as const) {
    const answer = await ask(NAMES.onDemand, `/status/${status}`);
    t.equal(answer.status, status);
    t.equal(answer.statusText, reason);
    t.notMatch(await answer.text(), /datagrok-error/);
  }
});

t.test("errors of the system say so", async (t) => {
  const unknown = await berth.call(`/docker/containers/proxy/${UNKNOWN}/`);
  t.equal(unknown.status, 404);
  t.equal(unknown.headers.get("content-type"), "application/json");
  t.hasProp((await unknown.json()) as object, "datagrok-error");
  t.equal((await berth.call("/docker/containers/proxy/00000000-0000-0000-0000-000000000000/")).status, 404);
  t.equal((await ask(NAMES.plain, "/")).status, 400, "a stopped plain container is not woken");
  t.equal((await berth.call(`/docker/containers/proxy/${UNKNOWN}/`, { headers: { authorization: "unknown" } })).status, 401);
  const logs = await berth.call(`/docker/containers/${UNKNOWN}/logs`);
  t.ok(logs.status >= 400 && logs.status !== 404, `logs of an unknown container: ${logs.status}`);
});

t.test("run and stop, with and without waiting", async (t) => {
  const { id } = await berth.container(NAMES.plain);
  t.ok((await berth.call(`/docker/containers/${id}/run?awaitStart=true`)).status < 400);
  t.equal((await berth.container(NAMES.plain)).status, "started");
  t.same(await (await ask(NAMES.plain, "/square?number=6")).json(), { result: 36 });
  t.ok((await berth.call(`/docker/containers/${id}/stop?awaitStop=true`)).status < 400);
  t.equal((await berth.container(NAMES.plain)).status, "stopped by user");
  t.equal(await running(NAMES.plain), 0);
  t.ok((await berth.call(`/docker/containers/${id}/run?awaitStart=false`)).status < 400);
  await berth.until(NAMES.plain, ["started"]);
  t.ok((await berth.call(`/docker/containers/${id}/stop?awaitStop=false`)).status < 400);
  await berth.until(NAMES.plain, ["stopped by user"]);
});

t.test("a container that speaks no HTTP is started when it accepts connections", async (t) => {
  const { id } = await berth.container(NAMES.postgres);
  t.ok((await berth.call(`/docker/containers/${id}/run?awaitStart=true`)).status < 400);
  t.equal((await berth.container(NAMES.postgres)).status, "started");
});

t.test("a worker without a port is started by running, and is not to be called", async (t) => {
  const { id } = await berth.container(NAMES.worker);
  t.ok((await berth.call(`/docker/containers/${id}/run?awaitStart=true`)).status < 400);
  t.equal((await berth.container(NAMES.worker)).status, "started");
  t.equal((await ask(NAMES.worker, "/")).status, 400);
});

t.test("a container that crashes at start answers with the cause, and is not started a hundred times", async (t) => {
  const answer = await ask(NAMES.crash, "/");
  t.equal(answer.status, 500);
  t.match(((await answer.json()) as Record<string, string>)["datagrok-error"], /crash/i);
  t.equal((await berth.container(NAMES.crash)).status, "error");
  const { id } = await berth.container(NAMES.crash);
  const rest = await Promise.all(Array.from({ length: 100 }, () => berth.call(`/docker/containers/proxy/${id}/`)));
  t.ok(rest.every((one) => one.status === 500));
  const starts = await startsOf(engine.docker, id);
  t.ok(starts >= 1 && starts <= 3, `the engine started it ${starts} times for 101 requests`);
  const logs = await (await berth.call(`/docker/containers/${id}/logs`)).text();
  t.ok(logs.length > 0, "its log tail is kept");
});

t.test("a WebSocket hears CONNECTED, then the container, also while it is cold", async (t) => {
  const warm = await talk(NAMES.onDemand, "/ws", ["one"], 2);
  t.same(warm.received, ["text:CONNECTED", "text:one"]);
  t.equal(warm.code, 1000);
  t.equal((await berth.container(NAMES.slow)).status, "stopped by system");
  const cold = await talk(NAMES.slow, "/ws", ["one", "two"], 3);
  t.same(cold.received, ["text:CONNECTED", "text:one", "text:two"]);
});

t.test(
  "a WebSocket hears when its container has run for max_minutes; it ends with its own grace time, and the next request starts another",
  async (t) => {
    const { id } = await berth.container(NAMES.brief);
    const url = `${berth.api.replace(/^http/, "ws")}/docker/containers/proxy-ws/${id}/ws`;
    const socket = new WebSocket(url, { headers: { authorization: berth.token } });
    const closed: { code: number; reason: string }[] = [];
    socket.on("close", (code, reason) => closed.push({ code, reason: reason.toString() }));
    socket.on("error", () => undefined);
    const { serviceName } = await berth.until(NAMES.brief, ["started"]);
    const first = await engine.docker.getContainer(serviceName).inspect();
    t.match(first.Config, { StopTimeout: 20 });
    await eventually("its close", () => closed.length > 0);
    t.same(closed, [{ code: 1001, reason: "The container has run for 0.1 minutes, its max_minutes: connect again" }]);
    await berth.until(NAMES.brief, ["stopped by system"]);
    t.equal(await running(NAMES.brief), 0);
    t.same(await (await ask(NAMES.brief, "/square?number=3")).json(), { result: 9 });
    t.not((await engine.docker.getContainer(serviceName).inspect()).Id, first.Id);
  },
);

t.test("left alone it is stopped; bytes from the container alone keep it awake", async (t) => {
  const stream = await ask(NAMES.onDemand, "/stream");
  const reader = stream.body?.getReader();
  await reader?.read();
  // Longer than its whole time-out: only the open stream keeps it.
  await pause(SHORT_TIMEOUT * 60_000 * 1.7);
  t.equal((await berth.container(NAMES.onDemand)).status, "started");
  await reader?.cancel();
  await berth.until(NAMES.onDemand, ["stopped by system"]);
  t.equal(await running(NAMES.onDemand), 0);
  t.same(await (await ask(NAMES.onDemand, "/square?number=7")).json(), { result: 49 }, "and the next request wakes it again");
});

t.test("after kill -9 and a new start, running containers are adopted and served", async (t) => {
  const { id } = await berth.container(NAMES.plain);
  await berth.call(`/docker/containers/${id}/run?awaitStart=true`);
  const before = await berth.container(NAMES.plain);
  const started = async () => (await engine.docker.getContainer(before.serviceName).inspect()).State.StartedAt;
  const startedAt = await started();
  await berth.kill();
  berth = await startBerth({ data, env });
  t.same(await (await ask(NAMES.plain, "/square?number=8")).json(), { result: 64 });
  const after = await berth.container(NAMES.plain);
  t.equal(after.id, before.id);
  t.equal(after.status, "started");
  t.equal(await started(), startedAt, "the very same container, not a new one");
});
