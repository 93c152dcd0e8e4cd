import { appendFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import type { Log } from "../../../lib/log.ts";
import type { Address } from "../../../drivers/driver.ts";
import { KubernetesApiError } from "../../fixtures/kubernetes/status.ts";
import { call, get, rejectsWith, specOf } from "../conformance.ts";
import { listen, NAMESPACE, openWorld } from "./test-cluster.ts";
import { eventually } from "../../fixtures/eventually.ts";

t.test("a failed start is reported with a fault code, and nothing is left of it", async (t) => {
  const world = await openWorld(t);
  const { cluster, image, refused, left } = world;
  const driver = world.open({ patienceMs: 700 });
  const fails = async (
    code: Parameters<typeof rejectsWith>[1],
    source: Awaited<ReturnType<typeof image>>,
    more: Partial<Awaited<ReturnType<typeof specOf>>>,
    says: RegExp,
  ) => {
    const fault = await rejectsWith(t, code, driver.deploy(await specOf(driver, "failing", source, more), call()));
    t.match(fault.message, says);
    t.strictSame(await left("failing"), []);
  };
  const worker = await image("worker");
  const gone = 'rpc error: code = NotFound desc = failed to pull and unpack image "r/x": failed to resolve reference "r/x": r/x: not found';
  await fails("IMAGE_NOT_FOUND", refused("gone", gone), {}, /not found/);
  await fails(
    "PULL_DENIED",
    refused("denied", "failed to authorize: failed to fetch oauth token: unexpected status: 401 Unauthorized"),
    {},
    /401.*no credentials.*DOCKER_AUTH/,
  );
  await fails(
    "REGISTRY_UNREACHABLE",
    refused("away", 'failed to do request: Head "https://r/v2/": dial tcp 10.0.0.1:443: i/o timeout'),
    {},
    /i\/o timeout/,
  );
  await fails("NO_CAPACITY", worker, { cpu: 1_000 }, /0\/1 nodes are available: 1 Insufficient cpu.*container\.json/);
  await fails("NO_CAPACITY", worker, { gpu: 1 }, /Insufficient nvidia\.com\/gpu.*BERTH_GPU_POLICY/);
  await fails("CONTAINER_OUT_OF_MEMORY", await image("hungry"), { memoryMb: 200 }, /200 MB/);
  await fails("SPEC_REFUSED", worker, { env: { "no key/for a secret": "1" } }, /Invalid value/);
  cluster.admission.refuses = "exceeded quota: compute, requested: requests.memory=256Mi, used: requests.memory=1Gi, limited: requests.memory=1Gi";
  await fails("NO_CAPACITY", worker, {}, /exceeded quota: compute/);
  cluster.admission.refuses =
    "exceeded quota: gpus, requested: requests.nvidia.com/gpu=1, used: requests.nvidia.com/gpu=0, limited: requests.nvidia.com/gpu=0";
  await fails("NO_CAPACITY", worker, { gpu: 1 }, /exceeded quota: gpus.*BERTH_GPU_POLICY/);
  cluster.admission.refuses =
    'violates PodSecurity "baseline:latest": privileged (container "injected" must not set securityContext.privileged=true)';
  await fails("SPEC_REFUSED", worker, {}, /baseline/);
});

t.test("a cluster that struggles for a while and then comes right is waited for", async (t) => {
  const { open, image, cluster } = await openWorld(t);
  const driver = open();
  const source = await image("worker");
  await driver.deploy(await specOf(driver, "big", source, { cpu: 15, graceMs: 1 }), call());
  const second = driver.deploy(await specOf(driver, "second", source, { cpu: 2, graceMs: 1 }), call());
  await eventually("it does not fit", () => JSON.stringify(cluster.objects.all("pods")).includes("Unschedulable"));
  await driver.destroy("big", call());
  await second;
  await driver.destroy("second", call());
});

t.test("a start outlives a cluster that is away for a moment", async (t) => {
  const { cluster, open, image } = await openWorld(t);
  const driver = open();
  const spec = await specOf(driver, "away", await image("onDemand"), { env: { BOOT_MS: "800" } });
  const start = driver.deploy(spec, call());
  await eventually("it is watched", () => cluster.watching() > 0);
  const failed = { error: new KubernetesApiError(500, "InternalError", "etcdserver: leader changed"), method: "GET" };
  cluster.trouble.push(failed, failed);
  cluster.cutWatches();
  const {
    addresses: [address],
  } = await start;
  t.strictSame(await get(address as Address, "/square?number=2"), { result: 4 });
  t.strictSame(cluster.trouble, [], "it was away");
  await driver.destroy("away", call());
});

t.test("a start whose pod is taken away ends at once, and leaves nothing", async (t) => {
  const { cluster, images, open, image, podOf, left } = await openWorld(t);
  const driver = open();
  const spec = await specOf(driver, "taken", await image("mute"));
  const held = images.get(spec.image) as { folder: string };
  images.set(spec.image, { refused: "dial tcp: i/o timeout" });
  const start = driver.deploy(spec, call());
  const says = (what: string) => JSON.stringify(podOf("taken")?.status ?? {}).includes(what);
  // Watched before it runs, so that its run is seen before its end.
  await eventually("it is watched", () => cluster.watching() > 0 && says("ErrImagePull"));
  images.set(spec.image, held);
  await eventually("it runs", () => says("startedAt"));
  const pod = podOf("taken");
  if (pod) cluster.controllers.endPod(pod);
  t.match((await rejectsWith(t, "CONTAINER_CRASHED", start)).message, /taken away/);
  t.strictSame(await left("taken"), []);

  const second = driver.deploy(spec, call());
  await eventually("it is there", async () => cluster.objects.find("deployments", NAMESPACE, "taken") !== undefined);
  await driver.destroy("taken", call());
  await rejectsWith(t, "CONTAINER_CRASHED", second);
  t.strictSame(await left("taken"), []);
});

t.test("a namespace that enforces `restricted` is recognized, and its pods have no capabilities and do not run as root", async (t) => {
  const { cluster, open, image, images, podOf, left } = await openWorld(t);
  cluster.admission.podSecurity = "restricted";
  const warned: string[] = [];
  const none = () => {};
  const log: Log = { debug: none, info: none, error: none, warn: (_, message) => void warned.push(message), child: () => log };
  const driver = open({ log });
  const asRoot = await specOf(driver, "as-root", await image("onDemand"));
  const fault = await rejectsWith(t, "SPEC_REFUSED", driver.deploy(asRoot, call()));
  t.match(fault.message, /image will run as root.*Set a numeric USER in its Dockerfile/);
  t.strictSame(await left("as-root"), []);

  const spec = await specOf(driver, "as-user", await image("plain"));
  appendFileSync(join((images.get(spec.image) as { folder: string }).folder, "Dockerfile"), "USER 10001\n");
  const deployed = await driver.deploy(spec, call());
  t.match(deployed.warning, /restricted/);
  t.match(podOf("as-user")?.spec, { securityContext: { runAsNonRoot: true } });
  t.strictSame(((await get(deployed.addresses[0] as Address, "/privileges")) as { capabilities: number[] }).capabilities, [10], "NET_BIND_SERVICE");
  t.strictSame(
    warned.filter((message) => message.includes("restricted")),
    ["namespace enforces the pod security standard restricted: containers run without capabilities, and not as root"],
    "reported once",
  );
  t.equal((await driver.deploy(spec, call())).instance, deployed.instance, "it is adopted as it is");
  await driver.destroy("as-user", call());
});

t.test("by a setting, containers have no capabilities anywhere", async (t) => {
  const { open, image } = await openWorld(t);
  const driver = open({ capabilities: "none" });
  const { addresses } = await driver.deploy(await specOf(driver, "none", await image("onDemand")), call());
  t.strictSame(await get(addresses[0] as Address, "/privileges"), { capabilities: [10], noNewPrivileges: true });
  await driver.destroy("none", call());
});

t.test("the end of one that had run well is not reported as the end of a start", async (t) => {
  const { open, image, kill } = await openWorld(t);
  const driver = open();
  const spec = await specOf(driver, "adopted", await image("worker"), { graceMs: 1 });
  await driver.deploy(spec, call());
  const launched = Promise.withResolvers<void>();
  const check = driver.deploy({ ...spec, graceMs: 60_000 }, { ...call(), onLaunched: launched.resolve });
  check.catch(() => {});
  await launched.promise;
  await kill("adopted");
  t.match((await rejectsWith(t, "CONTAINER_CRASHED", check)).message, /^adopted ended, exit code 137/);
});

const PLUGINS: Readonly<Record<string, (address: string) => Record<string, string>>> = {
  calico: (address) => ({ "cni.projectcalico.org/podIP": `${address}/32`, "cni.projectcalico.org/podIPs": `${address}/32` }),
  amazon: (address) => ({ "vpc.amazonaws.com/pod-ips": address }),
  "kube-ovn": (address) => ({ "ovn.kubernetes.io/ip_address": `${address},fd00::5` }),
  ovn: (address) => ({
    "k8s.ovn.org/pod-networks": JSON.stringify({ default: { ip_addresses: [`${address}/24`], mac_address: "0a:58:0a:f4:00:05" } }),
  }),
};

t.test("a pod whose network plugin reports its address is ready as soon as it listens, before the kubelet reports its start", async (t) => {
  const { cluster, open, image, podOf } = await openWorld(t);
  const source = await image("onDemand");
  for (const [service, annotate] of Object.entries(PLUGINS)) {
    Object.assign(cluster.kubelet.notices, { startMs: 3_600_000, annotate });
    const driver = open();
    const { addresses, instance } = await driver.deploy(await specOf(driver, service, source), call());
    t.strictSame(await get(addresses[0] as Address, "/square?number=4"), { result: 16 }, service);
    t.equal(podOf(service)?.status?.["podIP"], undefined, "the kubelet has reported nothing");
    t.match(await driver.inspect(service, call()), { running: true, addresses, instance });
    t.match(await driver.list(call()), [{ running: true, addresses, instance }]);
    await driver.destroy(service, call());
    t.equal(await driver.inspect(service, call()), undefined);
  }
});

t.test("an address that the network plugin has taken back is no address, whatever the kubelet still reports", async (t) => {
  const { cluster, open, image, podOf } = await openWorld(t);
  Object.assign(cluster.kubelet.notices, { annotate: PLUGINS["calico"] });
  const driver = open();
  const { addresses, instance } = await driver.deploy(await specOf(driver, "taken", await image("onDemand")), call());
  const { events, end } = await listen(driver, cluster);
  t.match(await driver.inspect("taken", call()), { running: true, addresses });
  const pod = podOf("taken");
  if (pod)
    cluster.objects.change("pods", pod, ({ metadata }) => (metadata.annotations = { ...metadata.annotations, "cni.projectcalico.org/podIP": "" }));
  await eventually("an event ends the use of the address", () => events.some((one) => one.kind === "changed" && one.ended?.instance === instance));
  t.match(await driver.inspect("taken", call()), { running: true, addresses: { length: 0 } });
  await end();
  await driver.destroy("taken", call());
});
