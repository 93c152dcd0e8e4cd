import { once } from "node:events";
import { connect } from "node:net";
import { join } from "node:path";
import t from "tap";
import { startBerth } from "../fixtures/berth.ts";
import { layOutFolder, type TestImage } from "../fixtures/images.ts";
import { openRegistry } from "../fixtures/registry.ts";
import { requireShell } from "../control/api/fixtures/shell-client.ts";
import { NAMESPACE, openWorld, RBAC, SHELL_RBAC } from "../drivers/kubernetes/test-cluster.ts";
import { freePort } from "../fixtures/server.ts";
import { tempFolder } from "../fixtures/temp-folder.ts";
import { eventually } from "../fixtures/eventually.ts";

/**
 * The walk of a plugin's containers over a cluster, seen from outside: publish, wake, use, asleep again, a crash, `kill -9` of berth. The cluster is
 * the double of `fixtures/kubernetes`; the registry, from which images get their digests, answers over HTTP.
 */
const { cluster, images, kubeconfig, podOf, kill, vanish } = await openWorld(t, { rbac: [RBAC, SHELL_RBAC] });
const registry = await openRegistry();
t.teardown(() => registry.close());
const data = tempFolder(t);
const tcpPort = await freePort();

const put = (name: TestImage): string => {
  const digest = registry.put(`datagrok/${name.toLowerCase()}`, "1", name);
  images.set(`${registry.host}/datagrok/${name.toLowerCase()}@${digest}`, { folder: layOutFolder(join(data, "images", name), name) });
  return `datagrok/${name.toLowerCase()}:1`;
};

const env = {
  BERTH_DRIVER: "kubernetes",
  GROK_SPAWNER_KUBERNETES__KUBECONFIG: kubeconfig,
  GROK_SPAWNER_KUBERNETES__NAMESPACE: NAMESPACE,
  GROK_SPAWNER_ENVIRONMENT: "walk",
  REGISTRY_URL: `http://${registry.host}`,
  BERTH_REGISTRY_PORT: "0",
  BERTH_SHELL: "on",
  BERTH_TCP_PORTS: `${tcpPort}-${tcpPort}`,
  GROK_PARAMETERS: JSON.stringify({ dockerSettings: { proxyRequestTimeout: 30_000 } }),
};

/** 2 s of idleness, in the minutes of container.json. */
const SHORT_TIMEOUT = 0.034;
const FILES = {
  "package.json": JSON.stringify({ name: "@datagrok/Walk", version: "1.0.0", friendlyName: "Walk" }),
  "dockerfiles/sleeper/container.json": JSON.stringify({
    image: put("onDemand"),
    port: 15353,
    on_demand: true,
    shutdown_timeout: SHORT_TIMEOUT,
    memory: 256,
  }),
  "dockerfiles/steady/container.json": JSON.stringify({ image: put("plain"), port: 5353, on_demand: true, memory: 256 }),
  "dockerfiles/crash/container.json": JSON.stringify({ image: put("crashing"), port: 8080, on_demand: true }),
  "dockerfiles/database/container.json": JSON.stringify({
    image: put("tcpOnly"),
    port: 5432,
    on_demand: true,
    tcp: true,
    shutdown_timeout: SHORT_TIMEOUT,
    memory: 256,
  }),
  "dockerfiles/missing/container.json": JSON.stringify({ image: `${registry.host}/datagrok/missing:1`, on_demand: true }),
};

let berth = await startBerth({ data, env });
t.teardown(() => berth.stop());

const ask = async (name: string, path: string) => berth.call(`/docker/containers/proxy/${(await berth.container(name)).id}${path}`);
const serviceOf = async (name: string) => (await berth.container(name)).serviceName;

t.test("a published package's images are looked up and pinned, and a missing one is reported", async (t) => {
  const answer = await berth.publish("@datagrok/Walk", FILES);
  t.equal(answer.status, 200, await answer.clone().text());
  for (const [name, status] of [
    ["walk-sleeper", "ready"],
    ["walk-steady", "ready"],
    ["walk-crash", "ready"],
    ["walk-missing", "error"],
  ]) {
    await eventually(`${name}'s image to be ${status}`, async () => (await berth.container(name ?? "")).dockerfile.status === status);
  }
  t.match((await berth.container("walk-steady")).dockerfile.logs, /exposes port 8080/, "what the registry says; container.json names another");
  t.strictSame(cluster.objects.all("deployments"), [], "nothing is made before the first request");
});

t.test("the first request wakes a container, and left alone it is gone from the cluster", async (t) => {
  const before = cluster.roles.all().length;
  const answer = await ask("walk-sleeper", "/square?number=4");
  t.equal(answer.status, 200, await answer.clone().text());
  t.same(await answer.json(), { result: 16 });
  t.ok(podOf(await serviceOf("walk-sleeper")));
  await berth.until("walk-sleeper", ["stopped by system"]);
  const calls = cluster.roles.all().slice(before);
  // A stop begins with the log, for which the pods are listed.
  const ofWake = calls.slice(0, calls.indexOf("get pods/log") - 1);
  // Sweeps, and looks at a start that a busy machine delays, come beside them.
  const ownCalls = ofWake.filter((one) => !/^(get|list) /.test(one));
  t.ok(ownCalls.length <= 8, `a wake takes 8 calls at most: ${ofWake.join(", ")}`);
  t.strictSame(
    [...cluster.objects.all("deployments"), ...cluster.objects.all("secrets"), ...cluster.objects.all("services"), ...cluster.objects.all("pods")],
    [],
  );
});

t.test("a TCP connection wakes a container, and left alone it is gone from the cluster", async (t) => {
  await eventually("its image to be ready", async () => (await berth.container("walk-database")).dockerfile.status === "ready");
  t.match(await berth.container("walk-database"), { address: "127.0.0.1", port: tcpPort });
  for (const word of ["one", "two"]) {
    const socket = connect(tcpPort, "127.0.0.1").setEncoding("utf8");
    socket.on("error", () => undefined).write(word);
    t.equal(String((await once(socket, "data"))[0]), `echo ${word}`);
    t.ok(podOf(await serviceOf("walk-database")));
    await berth.until("walk-database", ["stopped by system"]);
    await eventually("the idle connection to be closed", () => socket.destroyed);
    t.notOk(podOf(await serviceOf("walk-database")));
  }
});

t.test("a request that comes while the API server is away is held until that is back", async (t) => {
  cluster.away();
  const request = ask("walk-sleeper", "/square?number=5");
  await berth.until("walk-sleeper", ["starting"]);
  await eventually("the wake has met the outage", () => berth.output().includes("reconciliation failed"));
  cluster.roles.cold.requests = 3;
  await cluster.back();
  const answer = await request;
  t.equal(answer.status, 200, await answer.clone().text());
  await berth.until("walk-sleeper", ["stopped by system"]);
});

t.test("one that crashes at start answers with its last lines", async (t) => {
  const answer = await ask("walk-crash", "/");
  t.equal(answer.status, 500);
  t.match(await answer.text(), /exit code 7/);
  t.equal(cluster.objects.all("pods").length, 0);
});

t.test("one that dies is woken by the next request, whatever the cluster does meanwhile", async (t) => {
  t.same(await (await ask("walk-steady", "/square?number=2")).json(), { result: 4 });
  await kill(await serviceOf("walk-steady"));
  await berth.until("walk-steady", ["stopped by system", "stopped by user", "error", "pending", "started"]);
  t.same(await (await ask("walk-steady", "/square?number=3")).json(), { result: 9 });
});

t.test("the first request after an application's own death is served, before the kubelet has noticed the end", async (t) => {
  t.same(await (await ask("walk-steady", "/square?number=8")).json(), { result: 64 });
  cluster.kubelet.notices.endMs = 1_000;
  t.teardown(() => (cluster.kubelet.notices.endMs = 0));
  const { podIP } = (podOf(await serviceOf("walk-steady"))?.status ?? {}) as { podIP: string };
  await kill(await serviceOf("walk-steady"));
  await eventually("it refuses connections", () => fetch(`http://${podIP}:5353/`).then(() => false, () => true)); // prettier-ignore
  const answer = await ask("walk-steady", "/square?number=9");
  t.equal(answer.status, 200, await answer.clone().text());
  t.same(await answer.json(), { result: 81 });
});

t.test("a user gets a shell in a pod", async (t) => {
  t.same(await (await ask("walk-steady", "/square?number=4")).json(), { result: 16 });
  const { id } = await berth.container("walk-steady");
  const url = `${berth.api.replace("http", "ws")}/docker/containers/${id}/exec?tty=true&columns=90&rows=20`;
  const shell = await requireShell(t, url, { headers: { authorization: berth.token } });
  shell.type("echo $((6*7)) $TERM; stty size\n");
  await shell.expect(/42 xterm-256color\r\n20 90\r\n/);
  shell.type("exit 5\n");
  t.strictSame(await shell.ended, { report: { exitCode: 5 }, code: 1000 });
});

t.test("what was removed by hand is made anew for the next request", async (t) => {
  const service = await serviceOf("walk-steady");
  t.same(await (await ask("walk-steady", "/square?number=5")).json(), { result: 25 });
  await vanish(service);
  await eventually("its pod to be gone", async () => (podOf(service) ? undefined : true));
  t.same(await (await ask("walk-steady", "/square?number=6")).json(), { result: 36 });
});

t.test("a berth that was killed finds what it left, and starts nothing twice", async (t) => {
  const pod = podOf(await serviceOf("walk-steady"))?.metadata.uid;
  await berth.kill();
  berth = await startBerth({ data, env });
  t.same(await (await ask("walk-steady", "/square?number=7")).json(), { result: 49 });
  t.equal(podOf(await serviceOf("walk-steady"))?.metadata.uid, pod);
  t.notMatch(berth.output(), /may not/, "with the rights of the manifest alone");
});
