import t from "tap";
import { openOwnSwarm } from "../drivers/swarm/own-swarm.ts";
import { type Berth, startBerth } from "../fixtures/berth.ts";
import { buildTestImages } from "../fixtures/images.ts";
import { tempFolder } from "../fixtures/temp-folder.ts";
import { eventually } from "../fixtures/eventually.ts";

/**
 * The walk of a plugin's containers over a real swarm that a started berth finds by itself, seen from outside alone: publish, wake, use, idle stop,
 * crash, recover, the engine away and back, and all of it once more after `kill -9`.
 */
t.setTimeout(300_000);

const swarm = await openOwnSwarm(t);
const { docker } = swarm;
const images = await buildTestImages(docker, ["onDemand", "plain", "crashing"]);
const data = tempFolder(t);
const env = {
  DOCKER_HOST: swarm.host,
  GROK_SPAWNER_ENVIRONMENT: "swarm-walk",
  GROK_PARAMETERS: JSON.stringify({ dockerSettings: { proxyRequestTimeout: 60_000 } }),
};
const NAMES = { onDemand: "walk-ondemand", plain: "walk-plain", crash: "walk-crash" };
const FILES = {
  "package.json": JSON.stringify({ name: "Walk", version: "1.0.0" }),
  // 3 s of idleness, in minutes.
  "dockerfiles/ondemand/container.json": JSON.stringify({ image: images.onDemand, on_demand: true, shutdown_timeout: 0.05, cpu: 0.25, memory: 256 }),
  "dockerfiles/plain/container.json": JSON.stringify({ image: images.plain, cpu: 0.25, memory: 256 }),
  "dockerfiles/crash/container.json": JSON.stringify({ image: images.crashing, on_demand: true, cpu: 0.25, memory: 256 }),
};

// From before the engine managed a swarm: berth is to tell of it, and to leave it alone.
const earlier = await docker.createContainer({ name: "from-earlier", Image: images.plain, Labels: { "berth.container": "earlier" } });

let berth: Berth = await startBerth({ data, env });
t.teardown(() => berth.stop());

const ask = async (name: string, path: string) => berth.call(`/docker/containers/proxy/${(await berth.container(name)).id}${path}`);
const services = async () => (await docker.listServices()).flatMap(({ Spec }) => Spec?.Name ?? []);
const running = async (name: string) => {
  const { serviceName } = await berth.container(name);
  return docker.listContainers({ filters: { label: [`com.docker.swarm.service.name=${serviceName}`] } });
};
type Line = { event: string; cause: { code: string; message: string } | null };
const history = async (name: string) => {
  const { id } = await berth.container(name);
  return (await (await berth.call(`/docker/containers/${id}/history`)).json()) as Line[];
};

t.test("what is published is made ready, and nothing of it runs yet", async (t) => {
  const answer = await berth.publish("Walk", FILES);
  t.equal(answer.status, 200, await answer.clone().text());
  for (const name of Object.values(NAMES)) {
    await eventually(`${name}'s image to be ready`, async () => (await berth.container(name)).dockerfile.status === "ready");
  }
  t.same(await services(), []);
  t.match(berth.output(), /manages a swarm/);
  t.match(berth.output(), /from-earlier.*neither seen nor ended/);
  t.equal((await earlier.inspect()).State.Status, "created");
});

t.test("the first request wakes a container as a service of the swarm, and uses it", async (t) => {
  t.same(await (await ask(NAMES.onDemand, "/square?number=4")).json(), { result: 16 });
  const { serviceName, status } = await berth.container(NAMES.onDemand);
  t.equal(status, "started");
  t.same(await services(), [serviceName]);
  const answers = await Promise.all([1, 2, 3].map(async (number) => (await ask(NAMES.onDemand, `/square?number=${number}`)).json()));
  t.same(answers, [{ result: 1 }, { result: 4 }, { result: 9 }]);
});

t.test("left alone it is stopped, and its service is gone", async (t) => {
  await berth.until(NAMES.onDemand, ["stopped by system"]);
  t.same(await services(), []);
  t.same(await running(NAMES.onDemand), []);
});

t.test("one that crashes at start says so, with its last lines", async (t) => {
  const answer = await ask(NAMES.crash, "/");
  t.equal(answer.status, 500);
  t.match(((await answer.json()) as Record<string, string>)["datagrok-error"], /exit code 7/);
  t.match(await (await berth.call(`/docker/containers/${(await berth.container(NAMES.crash)).id}/logs`)).text(), /no database/);
  t.same(await services(), []);
});

t.test("one that dies is started again, and answers", async (t) => {
  const { id } = await berth.container(NAMES.plain);
  t.ok((await berth.call(`/docker/containers/${id}/run?awaitStart=true`)).status < 400);
  const [before] = await running(NAMES.plain);
  await docker.getContainer(before?.Id ?? "none").kill();
  await eventually("another one", async () => {
    const [now] = await running(NAMES.plain);
    return now !== undefined && now.Id !== before?.Id ? true : undefined;
  });
  await berth.until(NAMES.plain, ["started"], 30_000);
  t.same(await (await ask(NAMES.plain, "/square?number=5")).json(), { result: 25 });
  t.ok((await history(NAMES.plain)).some(({ event, cause }) => event === "lost" && cause?.code === "CONTAINER_CRASHED"));
});

t.test("one that was removed by hand is woken anew by the next request, and its row says why", async (t) => {
  await ask(NAMES.onDemand, "/");
  await docker.getService((await berth.container(NAMES.onDemand)).serviceName).remove();
  await berth.until(NAMES.onDemand, ["stopped by system"]);
  t.match((await history(NAMES.onDemand)).at(-1), { event: "lostAsleep", cause: { message: /removed it/ } });
  t.same(await (await ask(NAMES.onDemand, "/square?number=6")).json(), { result: 36 });
});

t.test("after kill -9 and a new start, what runs is adopted and served", async (t) => {
  const [before] = await running(NAMES.plain);
  await berth.kill();
  berth = await startBerth({ data, env });
  t.same(await (await ask(NAMES.plain, "/square?number=8")).json(), { result: 64 });
  t.equal((await running(NAMES.plain))[0]?.Id, before?.Id, "the very same container");
});

t.test("while the engine is away berth starts all the same, and goes on once it is back", async (t) => {
  await berth.kill();
  await swarm.stop();
  berth = await startBerth({ data, env });
  await swarm.start();
  await berth.until(NAMES.plain, ["started"], 60_000);
  t.same(await (await ask(NAMES.plain, "/square?number=9")).json(), { result: 81 });
  t.same(await (await ask(NAMES.onDemand, "/square?number=2")).json(), { result: 4 });
});
