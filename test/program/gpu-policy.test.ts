import t from "tap";
import { startBerth } from "../fixtures/berth.ts";
import { openEngine } from "../fixtures/engine.ts";
import { buildTestImages } from "../fixtures/images.ts";
import { tempFolder } from "../fixtures/temp-folder.ts";

const { docker, host } = openEngine();
const { onDemand } = await buildTestImages(docker, ["onDemand"]);
const network = `berth-gpu-${process.pid}`;
const FILES = {
  "package.json": JSON.stringify({ name: "Gpu", version: "1.0.0" }),
  "dockerfiles/app/container.json": JSON.stringify({ image: onDemand, on_demand: true, gpu: 1 }),
};

for (const policy of ["require", "prefer"] as const) {
  t.test(`a package that requests a GPU, on a machine without, with the policy ${policy}`, async (t) => {
    const env = { BERTH_DRIVER: "docker", DOCKER_HOST: host, BERTH_DOCKER_NETWORK: network, BERTH_GPU_POLICY: policy };
    const berth = await startBerth({ data: tempFolder(t), env });
    t.teardown(async () => {
      await berth.stop();
      for (const { Id } of await docker.listContainers({ all: true, filters: { network: [network] } }))
        await docker.getContainer(Id).remove({ force: true });
      await docker.getNetwork(network).remove();
    });
    const published = await berth.publish("Gpu", FILES);
    const { id } = await berth.container("gpu-app");
    const response = await berth.call(`/docker/containers/proxy/${id}/square?number=4`);
    if (policy === "require") {
      t.equal(response.status, 500);
      t.match(await response.text(), /could not select device driver.*NVIDIA container toolkit.*BERTH_GPU_POLICY=prefer/);
      return;
    }
    t.match(await published.text(), /requests 1 GPU: it starts without if no machine has it free/);
    t.same(await response.json(), { result: 16 });
    const missing = /runs without the GPU that its container\.json requests/;
    t.match((await berth.container("gpu-app")).note, missing);
    t.match(((await (await berth.call(`/docker/containers/${id}/explain`)).json()) as { why: string }).why, missing);
    t.match(berth.output(), /container starts without its GPU/);
  });
}
