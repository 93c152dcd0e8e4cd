import { readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import t from "tap";
import { ADMIN_KEY, openClient } from "../fixtures/berth.ts";
import { addressOf, joinWhenReady, leaveAndEnd, openPods, openService } from "../fixtures/cluster/pods.ts";
import { runningServices } from "../fixtures/control-cluster.ts";
import { eventually } from "../fixtures/eventually.ts";
import { tempFolder } from "../fixtures/temp-folder.ts";
import { podTemplates } from "./chart-pods.ts";
import { ofKind, type Pod, render, type Rendered } from "./chart.ts";

/**
 * The chart's pods as processes of this machine: their variables, files and health checks as rendered, each with an address of its own, and Services in
 * front. Only the driver is another one. There is no cluster: the order of a rollout is the Deployments' own, done here by hand.
 */
t.setTimeout(240_000);

const rendered = await render({
  // Shorter than the default, which waits for slow load balancers.
  drainDelaySeconds: 2,
  grokRegistryProxy: { env: { REGISTRY_URL: "127.0.0.1:1" } },
  secret: { data: { BERTH_ADMIN_KEY: ADMIN_KEY, X_API_KEY: "key-of-the-spawner" } },
});
const objects = "objects" in rendered ? rendered.objects : [];
const { templateOf, secret } = podTemplates(objects);
const SERVICES = { edge: addressOf(201), control: addressOf(202), spawner: addressOf(203), registry: addressOf(204) };
const services = {
  "stand.ns.svc": SERVICES.edge,
  "stand-control.ns.svc": SERVICES.control,
  "stand-spawner.ns.svc": SERVICES.spawner,
  "stand-registry.ns.svc": SERVICES.registry,
};
/** A gateway holds a call of the API for so long while no control process answers; a busy machine may need longer to start one. */
const API_WAIT_MS = 15_000;
/** Between two requests of one client: enough of them to meet each moment, without the whole of a processor that other tests share. */
const PAUSE_MS = 10;
const SQUARE = readFileSync(join(import.meta.dirname, "../../conf/demo/dockerfiles/square/server.mjs"));

t.test("an upgrade refuses no request: warm ones go on, and those that need control wait for the next one", async (t) => {
  const folder = tempFolder(t);
  // Services of the process driver outlive berth on purpose.
  t.teardown(() => {
    for (const pid of [...runningServices(folder).values()].flat()) process.kill(pid, "SIGKILL");
  });
  const pods = openPods(t, { folder, services, secret, replaced: { BERTH_DRIVER: "process" } });
  const edge = await openService(t, { address: SERVICES.edge, port: 8080 });
  const toControl = await openService(t, { address: SERVICES.control, port: 8443 });

  let control = pods.start(templateOf("control"));
  toControl.add(control.address);
  let gateways = [pods.start(templateOf("gateway")), pods.start(templateOf("gateway"))];
  await Promise.all(gateways.map((gateway) => joinWhenReady(gateway, edge)));
  const output = () => [control, ...gateways].map((pod) => pod.output().slice(-2_000)).join("\n---\n");
  const client = await openClient({ base: `http://${SERVICES.edge}:8080`, key: ADMIN_KEY, output });
  const folders = ["warm", "asleep", "later"].flatMap((name) => [
    [`dockerfiles/${name}/Dockerfile`, 'FROM node\nEXPOSE 8000\nCMD ["node", "server.mjs"]\n'],
    [`dockerfiles/${name}/container.json`, JSON.stringify({ on_demand: true })],
    [`dockerfiles/${name}/server.mjs`, SQUARE],
  ]);
  const published = await client.publish("app", { "package.json": '{"name":"app","version":"1.0.0"}', ...Object.fromEntries(folders) });
  t.equal(published.status, 200);
  const pathOf = async (name: string) => `/docker/containers/proxy/${(await client.until(`app-${name}`, ["stopped by system"])).id}/square?number=4`;
  const [warm, asleep, later] = [await pathOf("warm"), await pathOf("asleep"), await pathOf("later")];
  t.equal((await client.call(warm)).status, 200);

  // A load that does not end: over connections that are kept, as those of an Ingress controller, and over new ones.
  const results = { served: 0, wrong: [] as string[], longestMs: 0 };
  const ending = new AbortController();
  const load = (headers: Record<string, string>) =>
    (async () => {
      while (!ending.signal.aborted) {
        const begin = performance.now();
        const outcome = await client.call(warm, { headers }).then(
          async (response) => (await response.text(), response.status),
          (error: Error) => `${error.message}: ${String((error.cause as Error | undefined)?.message)}`,
        );
        results.longestMs = Math.max(results.longestMs, performance.now() - begin);
        if (outcome === 200) results.served++;
        else results.wrong.push(String(outcome));
        await pause(PAUSE_MS);
      }
    })();
  const loads = [load({}), load({}), load({ connection: "close" })];
  const progress = async () => {
    const { served } = results;
    await eventually("requests to be served", () => results.served > served + 20);
  };
  await progress();

  // Recreate: the old process has ended before the next one starts.
  const before = control;
  const replaceControl = async () => {
    t.equal(await before.terminate(), 0);
    toControl.remove(before.address);
    const woken = client.call(asleep);
    const calledAt = performance.now();
    const user = client.call("/users/current").then(({ status }) => ({ status, afterMs: performance.now() - calledAt }));
    control = pods.start(templateOf("control"));
    toControl.add(control.address);
    t.equal((await woken).status, 200, "a request that needs a start waits for the next control");
    const { status, afterMs } = await user;
    t.ok(
      status === 200 || (status === 503 && afterMs >= API_WAIT_MS),
      `and so does the API, for up to 15 s (${status} after ${Math.round(afterMs)} ms)`,
    );
  };
  // RollingUpdate, maxSurge 1, maxUnavailable 0.
  const replaceGateways = async () => {
    for (const old of gateways) {
      const next = pods.start(templateOf("gateway"));
      await joinWhenReady(next, edge);
      const [ended] = await Promise.all([leaveAndEnd(old, edge), progress()]);
      t.equal(ended, 0, "it ends by itself");
      gateways = [...gateways.filter((one) => one !== old), next];
    }
  };
  await Promise.all([replaceControl(), replaceGateways()]);
  t.equal((await client.call(later)).status, 200);
  await progress();
  ending.abort();
  await Promise.all(loads);
  t.same(results.wrong, [], `of ${results.served} requests, the longest of which took ${Math.round(results.longestMs)} ms`);
});

t.test("helm test passes when each Service accepts requests, and fails while control is away", async (t) => {
  const pods = openPods(t, { folder: tempFolder(t), services, secret, replaced: { BERTH_DRIVER: "process" } });
  const open = (address: string, port: number) => openService(t, { address, port });
  const control = pods.start(templateOf("control"));
  (await open(SERVICES.control, 8443)).add(control.address);
  const started = [
    [pods.start(templateOf("gateway")), await open(SERVICES.edge, 8080)],
    [pods.start(templateOf("spawner")), await open(SERVICES.spawner, 8000)],
    [pods.start(templateOf("registry-proxy")), await open(SERVICES.registry, 5000)],
  ] as const;
  await Promise.all(started.map(([pod, service]) => joinWhenReady(pod, service)));
  const [test] = ofKind(objects, "Pod") as [Rendered];
  t.match(test.metadata.annotations, { "helm.sh/hook": "test" });
  const checks = test.spec["containers"] as Pod["containers"][number][];
  t.same(
    checks.map(({ name }) => name),
    ["edge", "spawner", "registry"],
  );
  const run = async () =>
    Promise.all(
      checks.map(async ({ env, args }) => {
        const variables = Object.fromEntries(env.map(({ name, value = "" }) => [name, value]));
        const pod = openPods(t, { folder: tempFolder(t), services, secret });
        const check = pod.start({ env: variables, args: args as string[], mounts: [], volumes: [], probe: { path: "/", port: 1, scheme: "HTTP" } });
        return check.ended;
      }),
    );
  t.same(await run(), [0, 0, 0]);
  await control.terminate();
  await eventually("the gateway to notice", async () => (await run())[0] !== 0);
});
