import t from "tap";
import { clockFrom, systemClock } from "../../../lib/clock.ts";
import { KubernetesApiError } from "../../fixtures/kubernetes/status.ts";
import { call, specOf } from "../conformance.ts";
import { NAMESPACE, openWorld, faster, listen } from "./test-cluster.ts";
import { eventually } from "../../fixtures/eventually.ts";

t.test("events go on where a watch broke off, and begin anew where the cluster has forgotten", async (t) => {
  const { cluster, open, image } = await openWorld(t);
  const driver = open({ clock: faster(20) });
  const { events, end } = await listen(driver, cluster);
  const connects = () => events.filter(({ kind }) => kind === "connected").length;
  const isReported = (service: string) => events.some((event) => event.kind === "changed" && event.service === service);
  cluster.cutWatches();
  const source = await image("worker");
  await driver.deploy(await specOf(driver, "missed", source, { graceMs: 1 }), call());
  await eventually("what happened meanwhile is reported", () => isReported("missed"));
  t.ok(connects() >= 2, "and that something may have been missed");
  await driver.destroy("missed", call());

  await eventually("watching", () => cluster.watching() === 1);
  const before = connects();
  cluster.trouble.push({ error: new KubernetesApiError(410, "Expired", "too old resource version"), method: "GET" });
  cluster.cutWatches();
  await eventually("listed anew", () => connects() > before);
  await eventually("watching again", () => cluster.watching() === 1);
  const listed = connects();
  cluster.objects.forget();
  cluster.cutWatches();
  await eventually("listed anew, since that version was forgotten", () => connects() > listed);
  await driver.deploy(await specOf(driver, "later", source, { graceMs: 1 }), call());
  await eventually("reported after that", () => isReported("later"));
  await driver.destroy("later", call());
  await end();
});

t.test("a watch whose time is up goes on where it was, and says nothing of it", async (t) => {
  const { cluster, open, image } = await openWorld(t);
  const driver = open({ clock: faster(20) });
  const { events, end } = await listen(driver, cluster);
  // A bookmark is all that tells a version which is younger than what the cluster has forgotten.
  cluster.objects.forget();
  await eventually("a bookmark", () => cluster.bookmarked() >= cluster.objects.oldest());
  const lists = cluster.roles.times("list pods");
  cluster.endWatches();
  await eventually("watching again", () => cluster.roles.times("watch pods") === 2 && cluster.watching() === 1);
  t.equal(cluster.roles.times("list pods"), lists, "nothing was listed anew");
  await driver.deploy(await specOf(driver, "later", await image("worker"), { graceMs: 1 }), call());
  await eventually("reported", () => events.some((event) => event.kind === "changed" && event.service === "later"));
  t.equal(events.filter(({ kind }) => kind === "connected").length, 1);
  await driver.destroy("later", call());
  await end();
});

t.test("a watch that falls silent for longer than it may last is begun anew", async (t) => {
  const { cluster, open } = await openWorld(t);
  const system = systemClock();
  const hasty = clockFrom({ ...system, after: (ms, task) => system.after(ms > 200_000 ? 100 : ms, task) });
  const { events, end } = await listen(open({ clock: hasty }), cluster);
  await eventually("connected again", () => events.length >= 3);
  t.strictSame(events.slice(0, 3), [{ kind: "connected" }, { kind: "disconnected" }, { kind: "connected" }], "and the break was reported before");
  await end();
});

t.test("lists of many are read page by page", async (t) => {
  const { cluster, open } = await openWorld(t);
  const meta = { namespace: NAMESPACE, uid: "", resourceVersion: "", creationTimestamp: "" };
  const spec = { replicas: 0, template: { spec: {} } };
  for (let n = 0; n < 1_201; n++) {
    const labels = { "app.kubernetes.io/managed-by": "berth", "berth.service": `many-${n}` };
    const annotations = { "berth.container": `c-${n}`, "berth.generation": "1" };
    cluster.objects.add("deployments", {
      apiVersion: "apps/v1",
      kind: "Deployment",
      metadata: { ...meta, name: `many-${n}`, labels, annotations },
      spec,
    });
  }
  const all = await open().list(call());
  t.equal(new Set(all.map(({ service }) => service)).size, 1_201);
});

t.test("a pod that terminates is reported as the end of that very pod, as soon as it begins to", async (t) => {
  const { cluster, open, image } = await openWorld(t);
  const driver = open();
  t.equal(driver.watchedAddresses, true, "from outside a pod is reached at its own address, which others are given later");
  const { events, end } = await listen(driver, cluster);
  const spec = await specOf(driver, "goes", await image("onDemand"));
  const { instance } = await driver.deploy(spec, call());
  t.equal((await driver.inspect("goes", call()))?.instance, instance);
  const ends = () => events.filter((event) => event.kind === "changed" && event.ended?.instance === instance).length;
  t.equal(ends(), 0);
  await driver.destroy("goes", call());
  await eventually("its end is reported", () => ends() > 0);
  await end();
});
