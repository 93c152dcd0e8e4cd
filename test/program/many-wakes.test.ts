import { setTimeout as pause } from "node:timers/promises";
import t from "tap";
import { startBerth } from "../fixtures/berth.ts";
import { openEngine, startsOf, removeInstallation } from "../fixtures/engine.ts";
import { buildTestImages } from "../fixtures/images.ts";
import { tempFolder } from "../fixtures/temp-folder.ts";
import { eventually } from "../fixtures/eventually.ts";

/** Between two requests of one client: enough of them to meet each moment, without the whole of a processor that other tests share. */
const PAUSE_MS = 10;

/** So many containers at once as one page of a user's may call. */
const COUNT = 32;

const { docker } = openEngine();
const images = await buildTestImages(docker, ["onDemand"]);
const environment = `many-${process.pid}`;
const network = `berth-${environment}`;
const env = { BERTH_DRIVER: "docker", BERTH_DOCKER_NETWORK: network, GROK_SPAWNER_ENVIRONMENT: environment };

t.test("thirty-two containers that are called at once all answer, each after exactly one start, and control answers meanwhile", async (t) => {
  const berth = await startBerth({ data: tempFolder(t), env });
  t.teardown(async () => {
    await berth.stop();
    await removeInstallation(docker, environment, network);
  });
  const folders = Array.from({ length: COUNT }, (_, n) => `w${n}`);
  const json = JSON.stringify({ image: images.onDemand, on_demand: true, cpu: 0.25, memory: 128 });
  const files = Object.fromEntries(folders.map((folder) => [`dockerfiles/${folder}/container.json`, json]));
  t.equal((await berth.publish("many", { "package.json": JSON.stringify({ name: "many", version: "1.0.0" }), ...files })).status, 200);
  const containers = await Promise.all(
    folders.map((folder) =>
      eventually(`the image of ${folder}`, async () => {
        const entity = await berth.container(`many-${folder}`);
        return entity.dockerfile.status === "ready" ? entity : undefined;
      }),
    ),
  );
  const waiting = new AbortController();
  const answers = Promise.all(containers.map(({ id }, n) => berth.call(`/docker/containers/proxy/${id}/square?number=${n}`)));
  const polling = (async () => {
    const statuses = new Set<number>();
    while (!waiting.signal.aborted) {
      statuses.add((await berth.call(`/docker/containers/${containers[0]?.id}`)).status);
      await pause(PAUSE_MS);
    }
    return statuses;
  })();
  const all = await answers.finally(() => waiting.abort());
  t.same(
    await Promise.all(all.map(async (answer) => [answer.status, await answer.json()])),
    containers.map((_, n) => [200, { result: n ** 2 }]),
  );
  t.same(await polling, new Set([200]), "the API answered all the while");
  t.same(
    await Promise.all(containers.map(({ id }) => startsOf(docker, id))),
    containers.map(() => 1),
  );
});
