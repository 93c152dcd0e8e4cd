import { join } from "node:path";
import t, { type Test } from "tap";
import type { ContainerPageJson } from "../../control/api/row-schemas.ts";
import type { SeriesJson } from "../../control/api/schemas-series.ts";
import { NAMESPACE, openWorld } from "../drivers/kubernetes/test-cluster.ts";
import { startBerth } from "../fixtures/berth.ts";
import { openEngine } from "../fixtures/engine.ts";
import { eventually } from "../fixtures/eventually.ts";
import { buildTestImages, layOutFolder } from "../fixtures/images.ts";
import { openRegistry } from "../fixtures/registry.ts";
import { tempFolder } from "../fixtures/temp-folder.ts";

/** Two intervals of measurement, on a machine that may be busy. */
const MEASURED_MS = 120_000;

/** Starts one container of `image` with a berth of `env`, and waits until both of its uses are in the series and in the list. */
async function measure(t: Test, env: Record<string, string>, image: string): Promise<void> {
  const data = tempFolder(t);
  const berth = await startBerth({ data, env });
  t.teardown(() => berth.stop());
  const published = await berth.publish("used", {
    "package.json": JSON.stringify({ name: "used", version: "1.0.0" }),
    "dockerfiles/app/container.json": JSON.stringify({ image, port: 5353, on_demand: true, cpu: 0.5, memory: 256 }),
  });
  t.equal(published.status, 200);
  const { id } = await berth.container("used-app");
  t.ok((await berth.call(`/docker/containers/${id}/run?awaitStart=true`)).ok);
  const json = async <T>(path: string) => (await (await berth.call(path)).json()) as T;
  const series = await eventually(
    "CPU and memory to be measured",
    async () => {
      const read = await json<SeriesJson>(`/docker/containers/${id}/series?range=15m`);
      return read.cpu.some((value) => value !== null) && read.memory.some((value) => value !== null) ? read : undefined;
    },
    MEASURED_MS,
  );
  const most = (values: readonly (number | null)[]) => Math.max(...values.map((value) => value ?? 0));
  t.ok(most(series.memory) > 1_000_000 && most(series.memory) < 256 * 1_048_576, `${most(series.memory)} bytes of memory`);
  // A share of the cores of this machine: what a wrong unit would multiply by a thousand or more.
  t.ok(most(series.cpu) >= 0 && most(series.cpu) < 8, `${most(series.cpu)} cores`);
  t.ok(series.cpuReserved.includes(0.5) && series.memoryReserved.includes(256 * 1_048_576));
  const [row] = (await json<ContainerPageJson>("/docker/containers/rows")).rows;
  t.ok((row?.memoryUseMb ?? 0) >= 1 && row?.cpuUse !== null, "the last sample is in the list");
  t.ok((await berth.call(`/docker/containers/${id}/stop?awaitStop=true`)).ok);
}

t.test("a real Docker engine's statistics become CPU and memory over time", async (t) => {
  const { docker } = openEngine();
  const { plain } = await buildTestImages(docker);
  const network = `berth-used-${process.pid}`;
  t.teardown(() => docker.getNetwork(network).remove());
  await measure(t, { BERTH_DRIVER: "docker", BERTH_DOCKER_NETWORK: network, GROK_SPAWNER_ENVIRONMENT: `used-${process.pid}` }, plain);
});

t.test("what a cluster's metrics server reports becomes CPU and memory over time", async (t) => {
  const { images, kubeconfig } = await openWorld(t);
  const registry = await openRegistry();
  t.teardown(() => registry.close());
  const digest = registry.put("datagrok/plain", "1", "plain");
  images.set(`${registry.host}/datagrok/plain@${digest}`, { folder: layOutFolder(join(tempFolder(t), "plain"), "plain") });
  const env = {
    BERTH_DRIVER: "kubernetes",
    GROK_SPAWNER_KUBERNETES__KUBECONFIG: kubeconfig,
    GROK_SPAWNER_KUBERNETES__NAMESPACE: NAMESPACE,
    GROK_SPAWNER_ENVIRONMENT: "used",
    REGISTRY_URL: `http://${registry.host}`,
    BERTH_REGISTRY_PORT: "0",
  };
  await measure(t, env, "datagrok/plain:1");
});
