import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import t from "tap";
import { openEngine } from "../../fixtures/engine.ts";
import { buildTestImages } from "../../fixtures/images.ts";
import { spawnerWay, startSpawner } from "../../fixtures/spawner.ts";
import { tempFolder } from "../../fixtures/temp-folder.ts";
import { BACKENDS } from "../conformance/backends.ts";
import { dockerWorld } from "../docker/container-actions.ts";
import { call, conformance, get, labelsFor, namer, rejectsWith, specOf } from "../conformance.ts";
import { eventually } from "../../fixtures/eventually.ts";

/** Over a real connection to a real `berth spawner`, on the real engine. */
const { docker } = openEngine();
const images = await buildTestImages(docker);
const network = `berth-spawn-${randomUUID().slice(0, 8)}`;
const name = namer("spawn");
const data = tempFolder(t);
const env = { BERTH_DRIVER: "docker", BERTH_DOCKER_NETWORK: network };
const registry = await openEmptyRegistry();
const spawner = await startSpawner({ data, env });

const { left, remove, kill, move } = dockerWorld(docker, { network, image: images.worker, squatter: () => name("squatter") });

/** A registry in which there is nothing. */
async function openEmptyRegistry() {
  const server = createServer((request, response) => {
    if (request.url === "/v2/") return void response.end("{}");
    const body = { errors: [{ code: "NAME_UNKNOWN", message: "repository name not known to registry" }] };
    response.writeHead(404, { "content-type": "application/json" }).end(JSON.stringify(body));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    host: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    close: () => {
      server.closeAllConnections();
      server.close();
    },
  };
}

t.teardown(async () => {
  await spawner.stop();
  registry.close();
  for (const { Id } of await docker.listContainers({ all: true, filters: { network: [network] } })) await remove(Id);
  await docker.getNetwork(network).remove();
});

t.test("the spawner driver keeps the contract, over a spawner of a Docker engine", async (t) => {
  await conformance(t, {
    open: () => spawner.driver(),
    image: async (image) => ({ ref: images[image] }),
    unknown: async () => ({ ref: `${registry.host}/absent/nothing:1` }),
    kill,
    left,
    vanish: remove,
    move,
    way: (t) => spawnerWay(t, spawner),
    ...BACKENDS.spawner,
  });
});

t.test("what the engine says of a container comes through, and the spec reaches it whole", async (t) => {
  const driver = spawner.driver();
  const service = name("sizes");
  const spec = await specOf(driver, service, { ref: images.worker }, { cpu: 0.25, memoryMb: 96, shmMb: 32, env: { A: "1", EMPTY: "" } });
  await driver.deploy(spec, call());
  const { Config, HostConfig } = await docker.getContainer(service).inspect();
  t.match(HostConfig, { NanoCpus: 250_000_000, Memory: 96 * 1024 * 1024, ShmSize: 32 * 1024 * 1024 });
  t.match(Config.Labels, { "berth.store": spec.labels.store, "berth.container": spec.labels.container, "berth.generation": "1" });
  t.ok(Config.Env.includes("A=1") && Config.Env.includes("EMPTY="));
  await driver.destroy(service, call());
  await rejectsWith(t, "NO_CAPACITY", driver.deploy({ ...spec, gpu: 1 }, call()));
  await rejectsWith(t, "SPEC_REFUSED", driver.deploy({ ...spec, memoryMb: 1 }, call()));
  t.strictSame(await left(service), []);
});

t.test("a spawner reports the configured address where gateways reach its machine", async (t) => {
  const far = await startSpawner({ data: tempFolder(t), env: { ...env, BERTH_DOCKER_PUBLISH_HOST: "127.0.0.2" } });
  t.teardown(() => far.stop());
  const driver = far.driver();
  const service = name("elsewhere");
  const {
    addresses: [address],
  } = await driver.deploy(await specOf(driver, service, { ref: images.onDemand }), call());
  t.equal(address?.host, "127.0.0.2");
  t.strictSame(await get(address as NonNullable<typeof address>, "/square?number=4"), { result: 16 });
  await driver.destroy(service, call());
});

t.test("killed in the middle of a deploy and started again, the spawner finds the container that was starting", async (t) => {
  const at = tempFolder(t);
  const first = await startSpawner({ data: at, env });
  const driver = first.driver();
  const service = name("again");
  const spec = await specOf(driver, service, { ref: images.slow }, { labels: labelsFor(service), env: { BOOT_MS: "4000" } });
  const deployed = driver.deploy(spec, call());
  deployed.catch(() => {});
  await eventually("it boots", async () => (await left(service)).length === 1 && (await docker.getContainer(service).inspect()).State.Running);
  const { Id } = await docker.getContainer(service).inspect();
  await first.kill();
  const second = await startSpawner({ data: at, port: first.port, env });
  t.teardown(() => second.stop());
  const {
    addresses: [address],
  } = await deployed;
  t.strictSame(await get(address as NonNullable<typeof address>, "/square?number=5"), { result: 25 });
  t.equal((await docker.getContainer(service).inspect()).Id, Id);
  await driver.destroy(service, call());
});
