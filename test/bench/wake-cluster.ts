/**
 * How long a sleeping container takes to answer on a real Kubernetes: `TEST_CLUSTER=<kubeconfig of an administrator> TEST_REGISTRY=<host:port>
 * DOCKER_HOST=<engine> npm run bench:cluster [rounds] [onDemand|slow]`. Once with an application that listens as soon as its process runs, once with one that boots for 1 s.
 *
 * - answer: from the request to the whole response.
 * - listens: from the request until the application listens: the cluster's part and the application's own boot.
 * - release: from the moment the application listens until the response is there. Clocks of nodes must agree with this machine's.
 * - stop: from the call until the pod is gone.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startBerth } from "../fixtures/berth.ts";
import { pause } from "../fixtures/clock.ts";
import { openGivenCluster } from "../fixtures/kubernetes/given-cluster.ts";

const ROUNDS = Number(process.argv[2] ?? 20);
const APPS = { onDemand: "listens at once", slow: "boots for 1 s" } as const;
const chosen = (Object.keys(APPS) as (keyof typeof APPS)[]).filter((app) => process.argv[3] === undefined || process.argv[3] === app);

const data = mkdtempSync(join(tmpdir(), "berth-bench-"));
const cluster = await openGivenCluster(data);
const images = await cluster.push(chosen);
const berth = await startBerth({
  data,
  env: {
    BERTH_DRIVER: "kubernetes",
    GROK_SPAWNER_KUBERNETES__KUBECONFIG: cluster.kubeconfig,
    GROK_SPAWNER_KUBERNETES__NAMESPACE: cluster.namespace,
    GROK_SPAWNER_ENVIRONMENT: `bench-${process.pid}`,
    REGISTRY_URL: `http://${cluster.registry}`,
    BERTH_REGISTRY_PORT: "0",
  },
});

try {
  const containers = Object.entries(images).map(([app, image]) => [
    `dockerfiles/${app.toLowerCase()}/container.json`,
    JSON.stringify({ image, port: 15353, on_demand: true, memory: 256 }),
  ]);
  await berth.publish("bench", { "package.json": JSON.stringify({ name: "bench", version: "1.0.0" }), ...Object.fromEntries(containers) });
  for (const app of chosen) await measure(`bench-${app.toLowerCase()}`, APPS[app]);
} finally {
  await berth.stop();
  rmSync(data, { recursive: true, force: true });
}

async function measure(name: string, what: string): Promise<void> {
  let entity = await berth.container(name);
  for (; entity.dockerfile.status !== "ready"; entity = await berth.container(name)) await pause(50);
  const path = `/docker/containers/proxy/${entity.id}/times`;
  const stop = () => berth.call(`/docker/containers/${entity.id}/stop?awaitStop=true`);
  // Once without counting: the node pulls the image.
  await berth.call(path);
  await stop();
  const rounds: { answer: number; listens: number; release: number; stop: number }[] = [];
  let phases = "";
  for (let round = 0; round < ROUNDS; round++) {
    const requestedAt = Date.now();
    const response = await berth.call(path);
    const { listeningAt } = (await response.json()) as { listeningAt: number };
    const answeredAt = Date.now();
    phases = response.headers.get("server-timing") ?? "";
    await stop();
    rounds.push({
      answer: answeredAt - requestedAt,
      listens: listeningAt - requestedAt,
      release: answeredAt - listeningAt,
      stop: Date.now() - answeredAt,
    });
  }
  console.log(`\nan application that ${what}, ${ROUNDS} rounds, ms`);
  console.log(row("", ["median", "p95", "max"]));
  for (const key of ["answer", "listens", "release", "stop"] as const) console.log(row(key, figures(rounds.map((one) => one[key]))));
  console.log(`last Server-Timing: ${phases}`);
}

function figures(values: number[]): string[] {
  const sorted = values.toSorted((one, other) => one - other);
  return [0.5, 0.95, 1].map((part) => (sorted[Math.max(0, Math.ceil(sorted.length * part) - 1)] ?? 0).toFixed(0));
}

function row(name: string, cells: string[]): string {
  return name.padEnd(10) + cells.map((cell) => cell.padStart(10)).join("");
}
