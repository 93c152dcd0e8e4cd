import { randomUUID } from "node:crypto";
import t from "tap";
import { dockerDriver } from "../../../drivers/docker/driver.ts";
import { systemClock } from "../../../lib/clock.ts";
import { openLog } from "../../../lib/log.ts";
import { openEngine } from "../../fixtures/engine.ts";
import { buildTestImages } from "../../fixtures/images.ts";
import { startSpawner } from "../../fixtures/spawner.ts";
import { tempFolder } from "../../fixtures/temp-folder.ts";
import { checkLateStart } from "../late-starts.ts";

const clock = systemClock();
const log = openLog({ level: "silent", name: "test" });
const { docker, host } = openEngine();
const images = await buildTestImages(docker, ["onDemand"]);
const network = `berth-late-${randomUUID().slice(0, 8)}`;

t.teardown(async () => {
  for (const { Id } of await docker.listContainers({ all: true, filters: { network: [network] } }))
    await docker.getContainer(Id).remove({ force: true });
  for (const { Id } of await docker.listNetworks({ filters: { label: [`berth.network=${network}`] } })) await docker.getNetwork(Id).remove();
});

/** Of the leaders whose calls the engine carried out, in their order. */
async function startedEpochs(id: string): Promise<(string | undefined)[]> {
  let text = "";
  const until = Math.ceil(clock.now() / 1_000);
  for await (const piece of await docker.getEvents({ since: 0, until, filters: { event: ["start"], label: [`berth.container=${id}`] } }))
    text += String(piece);
  const starts = text.split("\n").filter(Boolean);
  return starts.map((line) => (JSON.parse(line) as { Actor: { Attributes: Record<string, string> } }).Actor.Attributes["berth.epoch"]);
}

t.test("a container that a deposed leader's call starts late on a real engine is recognized by its epoch, and removed", async (t) => {
  const open = () => dockerDriver({ host, network, reach: "address", clock, log });
  const id = await checkLateStart(t, { open, ref: images.onDemand, environment: network });
  t.same(await startedEpochs(id), ["2", "1"], "the engine started one of each leader");
});

t.test("and so is one that it starts late through a spawner", async (t) => {
  const spawner = await startSpawner({ data: tempFolder(t), env: { BERTH_DRIVER: "docker", BERTH_DOCKER_NETWORK: network } });
  t.teardown(() => spawner.stop());
  const id = await checkLateStart(t, { open: () => spawner.driver(), ref: images.onDemand, environment: network });
  t.same(await startedEpochs(id), ["2", "1"], "the engine started one of each leader");
});
