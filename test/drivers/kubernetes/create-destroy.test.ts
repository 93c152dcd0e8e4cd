import t from "tap";
import { type Clock, clockFrom, systemClock } from "../../../lib/clock.ts";
import { KubernetesApiError } from "../../fixtures/kubernetes/status.ts";
import { call, rejectsWith, specOf } from "../conformance.ts";
import { eventually } from "../../fixtures/eventually.ts";
import { faster, NAMESPACE, openWorld } from "./test-cluster.ts";

/** The reason of a pod that does not come within 500 ms is not looked up: a busy machine may take longer. */
const system = systemClock();
const unhurried = clockFrom({ ...system, after: (ms, task) => system.after(ms === 500 ? 600_000 : ms, task) });

t.test("a start takes 6 calls, and 8 with credentials for its image", async (t) => {
  const { cluster, open, image, registry } = await openWorld(t);
  const login = async () => ({ username: "me", password: "my password" });
  for (const [withLogin, expected] of [
    [false, ["create deployments", "create secrets", "create services", "patch secrets", "patch services", "watch pods"]],
    [
      true,
      ["create deployments", "create secrets", "create secrets", "create services", "patch secrets", "patch secrets", "patch services", "watch pods"],
    ],
  ] as const) {
    const driver = open({ clock: unhurried, ...(withLogin ? { registry: { ...registry, login } } : {}) });
    const spec = await specOf(driver, "counted", await image("onDemand"));
    const before = cluster.roles.all().length;
    await driver.deploy(spec, call());
    t.strictSame(cluster.roles.all().slice(before).toSorted(), expected);

    const started = cluster.roles.all().length;
    await driver.destroy("counted", call());
    const ended = cluster.roles.all().slice(started).toSorted();
    t.ok(ended.length <= 8, ended.join(", "));
  }
});

t.test("a stop and a replacement do not wait for the garbage collector", async (t) => {
  const { cluster, open, image, left } = await openWorld(t);
  const driver = open();
  const spec = await specOf(driver, "late", await image("onDemand"));
  cluster.controllers.garbage.stopped = true;
  const first = await driver.deploy(spec, call());
  const second = await driver.deploy({ ...spec, labels: { ...spec.labels, generation: 2 } }, call());
  t.not(second.instance, first.instance);
  await driver.destroy("late", call());
  t.strictSame(await left("late"), []);
  t.strictSame(cluster.objects.all("replicasets"), []);
});

t.test("a pod that a late controller creates after the removal is removed too", async (t) => {
  const { cluster, open, image, podOf } = await openWorld(t);
  const driver = open();
  const spec = await specOf(driver, "late", await image("worker"));
  const start = driver.deploy(spec, call()).catch(() => undefined);
  await eventually("it has a pod", () => podOf("late"));
  const set = structuredClone(cluster.objects.all("replicasets")[0]);
  cluster.controllers.garbage.stopped = true;
  const stop = cluster.objects.follow(cluster.objects.version(), ({ type, resource }) => {
    if (type !== "MODIFIED" || resource !== "pods" || !set) return;
    stop();
    // The first pod is being removed, and its ReplicaSet is gone: here it returns.
    setImmediate(() => cluster.objects.add("replicasets", set));
  });
  await driver.destroy("late", call());
  t.equal(podOf("late"), undefined);
  t.strictSame(cluster.objects.all("replicasets"), []);
  await start;
});

t.test("the fault of a stop that takes too long says what remains", async (t) => {
  const { cluster, open, image, podOf } = await openWorld(t);
  let expire = () => {};
  const after: Clock["after"] = (ms, task) => {
    if (ms === 60_000) expire = task;
    return system.after(ms, task);
  };
  const driver = open({ clock: clockFrom({ ...system, after }) });
  await driver.deploy(await specOf(driver, "stays", await image("worker"), { graceMs: 1 }), call());
  const name = podOf("stays")?.metadata.name ?? "";
  cluster.kubelet.notices.downMs = 5_000;
  const stop = driver.destroy("stays", call());
  stop.catch(() => {});
  await eventually("its pod is watched", () => cluster.roles.times("watch pods") === 2);
  expire();
  const fault = await rejectsWith(t, "ENGINE_FAILED", stop);
  t.match(fault.message, new RegExp(`after 60 s its pod ${name} on the node node-1, deleted at .*, has not ended: check whether that node is down`));
});

t.test("what remains of an interrupted start or stop is not used", async (t) => {
  const { cluster, open, image } = await openWorld(t);
  const driver = open();
  const spec = await specOf(driver, "remains", await image("onDemand"), { env: { TURN: "1" } });
  await driver.deploy(spec, call());
  const secret = structuredClone(cluster.objects.find("secrets", NAMESPACE, "remains.env"));
  await driver.destroy("remains", call());

  t.ok(secret);
  if (secret) {
    delete secret.metadata.ownerReferences;
    cluster.objects.add("secrets", secret);
  }
  const { addresses } = await driver.deploy({ ...spec, labels: { ...spec.labels, generation: 2 }, env: { TURN: "2" } }, call());
  const [address] = addresses;
  const response = await fetch(`http://${address?.host}:${address?.port}/env`);
  t.match(await response.json(), { TURN: "2" });
  await driver.destroy("remains", call());
});

t.test("a refused object takes those that were created beside it", async (t) => {
  const { cluster, open, image, left } = await openWorld(t);
  const driver = open();
  const spec = await specOf(driver, "quota", await image("onDemand"));
  for (const resource of ["deployments", "secrets", "services", "pods"]) {
    cluster.admission.quota = { [resource]: 0 };
    const fault = await rejectsWith(t, "NO_CAPACITY", driver.deploy(spec, call()));
    t.match(fault.message, /exceeded quota: object-counts, requested: .*=1, used: .*=0, limited: .*=0/);
    t.strictSame(await left("quota"), []);
  }
});

t.test("a Secret that comes later than its Deployment is waited for", async (t) => {
  const { cluster, open, image } = await openWorld(t);
  const driver = open({ clock: faster(2) });
  const spec = await specOf(driver, "secret", await image("onDemand"));
  const busy = new KubernetesApiError(429, "TooManyRequests", "Too many requests, please try again later.", 1);
  cluster.trouble.push({ error: busy, path: /\/secrets$/ });
  await driver.deploy(spec, call());
  t.strictSame(cluster.trouble, []);
  await driver.destroy("secret", call());
});

t.test("two deploys of one service whose objects are stored in turn get the same pod, and remove nothing", async (t) => {
  const { cluster, open, image } = await openWorld(t);
  const spec = await specOf(open(), "twice", await image("onDemand"));
  let isFirst = true;
  cluster.admission.beforeCreate = async (resource) => {
    if (resource !== "secrets" || !isFirst) return;
    isFirst = false;
    await eventually("the Secret of the second one is stored", () => cluster.objects.all("secrets").length === 1);
  };
  const first = open().deploy(spec, call());
  await eventually("the Deployment of the first one is stored", () => cluster.objects.all("deployments").length === 1);
  const [one, other] = await Promise.all([first, open().deploy(spec, call())]);
  t.equal(one.instance, other.instance);
  t.equal(cluster.roles.times("deletecollection deployments"), 0);
  await open().destroy("twice", call());
});

t.test("no pod comes before the credentials for its image: its node would pull without them, and be refused", async (t) => {
  const { cluster, open, privateImage, registry } = await openWorld(t);
  const driver = open({ clock: faster(2), registry: { ...registry, login: async () => ({ username: "me", password: "my password" }) } });
  const spec = await specOf(driver, "late", await privateImage("onDemand"));
  const busy = new KubernetesApiError(429, "TooManyRequests", "Too many requests, please try again later.", 1);
  cluster.trouble.push({ error: busy, path: /\/secrets$/ }, { error: busy, path: /\/secrets$/ });
  cluster.admission.beforeCreate = async (resource) => {
    if (resource === "deployments") t.ok(cluster.objects.find("secrets", NAMESPACE, "late.pull"), "the credentials are there");
  };
  await driver.deploy(spec, call());
  t.strictSame(cluster.trouble, []);
  await driver.destroy("late", call());
});
