import { readFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { startBerth } from "../fixtures/berth.ts";
import { openEngine, removeInstallation } from "../fixtures/engine.ts";
import { eventually } from "../fixtures/eventually.ts";
import { buildTestImages } from "../fixtures/images.ts";
import { tempFolder } from "../fixtures/temp-folder.ts";

/** The example of docs/replicas.md on a real Docker engine, and the same with the shortest window, so that replicas stop within the test. */
const { docker } = openEngine();
const images = await buildTestImages(docker);
const names = { network: `berth-replicas-${process.pid}`, environment: `replicas-${process.pid}` };
const berth = await startBerth({
  data: tempFolder(t),
  env: { BERTH_DRIVER: "docker", BERTH_WORKERS: "2", BERTH_DOCKER_NETWORK: names.network, GROK_SPAWNER_ENVIRONMENT: names.environment },
});
t.teardown(async () => {
  await berth.stop();
  await removeInstallation(docker, names.environment, names.network);
});
const page = readFileSync(join(import.meta.dirname, "../../docs/replicas.md"), "utf8");
const example = JSON.parse(/```json\n(.*?)```/s.exec(page)?.[1] ?? "{}") as { replicas: object };
const own = { image: images.onDemand, port: 15_353, cpu: 0.1, memory: 64 };
const published = await berth.publish("app", {
  "package.json": JSON.stringify({ name: "app", version: "1.0.0" }),
  "dockerfiles/page/container.json": JSON.stringify({ ...example, ...own }),
  "dockerfiles/brief/container.json": JSON.stringify({ ...example, ...own, replicas: { ...example.replicas, window_seconds: 6 } }),
});
if (!published.ok) throw new Error(await published.text());

type Replicas = { ready: number; wanted: number; says: string };

async function open(name: string) {
  const { id } = await eventually(`${name} to be ready`, async () => {
    const entity = await berth.container(name);
    return entity.dockerfile.status === "ready" ? entity : undefined;
  });
  const statuses = new Map<number, number>();
  /** A response that is sent in five parts, within half a second. */
  const stream = async () => {
    const response = await fetch(`${berth.api}/docker/containers/proxy/${id}/stream?count=5&every=100`, { headers: { authorization: berth.token } });
    const events = (await response.text()).match(/^data:/gm)?.length ?? 0;
    const status = events === 5 ? response.status : 0;
    statuses.set(status, (statuses.get(status) ?? 0) + 1);
  };
  const replicas = async () => (await (await berth.call(`/docker/containers/${id}`)).json()) as { replicas: Replicas; note: string | null };
  /** So many clients, one response after another, until the condition holds. */
  const under = async (clients: number, what: string, holds: (now: Replicas) => boolean) => {
    const stop = new AbortController();
    const running = Array.from({ length: clients }, async () => {
      while (!stop.signal.aborted) await stream();
    });
    await eventually(what, async () => holds((await replicas()).replicas));
    stop.abort();
    await Promise.all(running);
  };
  const containers = async () => (await docker.listContainers({ filters: { name: [`${names.environment}-${name}`] } })).length;
  return { id, statuses, replicas, under, containers };
}

t.test("the page's example gets a container of Docker for each replica", async (t) => {
  const { id, statuses, replicas, under, containers } = await open("app-page");
  await under(14, "three replicas to serve", ({ ready, wanted }) => ready === wanted && ready >= 3);
  const { ready, wanted } = (await replicas()).replicas;
  t.match(await replicas(), { note: `${ready} of ${wanted} replicas ready` });
  t.equal(await containers(), wanted);
  const { replicas: explained } = (await (await berth.call(`/docker/containers/${id}/explain`)).json()) as { replicas: Replicas };
  t.match(
    explained.says,
    /^[34] of [34] replicas ready\. [\d.]+ requests and WebSockets were open on average over 60 s; each replica is to have 5\./,
  );
  t.same([...statuses.keys()], [200]);
  await berth.call(`/docker/containers/${id}/stop?awaitStop=true`);
  await eventually("all to stop", async () => (await containers()) === 0);
});

t.test("replicas stop without an error for any client, and one that is killed costs none after it", async (t) => {
  const { statuses, replicas, under, containers } = await open("app-brief");
  await under(14, "three replicas to serve", ({ ready }) => ready >= 3);
  await under(2, "one to be left", ({ ready, wanted }) => ready === 1 && wanted === 1);
  await eventually("the others to be gone", async () => (await containers()) === 1);
  t.same([...statuses.keys()], [200], `${[...statuses.values()].join()} responses`);
  await under(8, "two to serve", ({ ready }) => ready >= 2);
  const [first] = await docker.listContainers({ filters: { name: [`${names.environment}-app-brief-replica`] } });
  if (first === undefined) throw new Error("there is no replica");
  await docker.getContainer(first.Id).kill();
  await eventually("it to be started again", async () => {
    const all = await docker.listContainers({ filters: { name: [`${names.environment}-app-brief-replica`] } });
    return all.length > 0 && all.every(({ Id }) => Id !== first.Id) && (await replicas()).replicas.ready >= 2;
  });
});
