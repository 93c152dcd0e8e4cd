import { writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { BACKENDS } from "../conformance/backends.ts";
import { openGate } from "../engine/engine-gate.ts";
import type { Address } from "../../../drivers/driver.ts";
import { call, conformance, get, labelsFor, rejectsWith, specOf, text } from "../conformance.ts";
import { NAMESPACE, openWorld, RBAC, REGISTRY, SHELL_RBAC, applyAs } from "./test-cluster.ts";
import { eventually } from "../../fixtures/eventually.ts";

t.test("the kubernetes driver keeps the contract, with the rights of both files of conf/kubernetes and all of them", async (t) => {
  const world = await openWorld(t, { rbac: [RBAC, SHELL_RBAC] });
  await conformance(t, {
    ...world,
    open: () => world.open({ gpuPatienceMs: 500 }),
    unknown: async () => ({ ref: `${REGISTRY}/absent/nothing:1` }),
    way: async (t) => {
      const gate = await openGate(t, { host: "127.0.0.1", port: Number(new URL(world.cluster.url).port) });
      const kubeconfig = join(world.folder, "through-the-gate");
      writeFileSync(kubeconfig, world.cluster.kubeconfig().replace(world.cluster.url, gate.host.replace("tcp:", "https:")));
      return { ...gate, driver: world.open({ kubeconfig }) };
    },
    cannot: { ...BACKENDS.kubernetes.cannot, "image-config": "no registry listens here: resolve.test.ts has one" },
  });
  t.strictSame([...world.cluster.roles.requests()].toSorted(), [...world.cluster.roles.granted()].toSorted());
});

t.test("the cluster gets what the spec requests", async (t) => {
  const { cluster, open, image, podOf } = await openWorld(t);
  const driver = open();
  const sizes = { cpu: 0.25, memoryMb: 96, shmMb: 32, storageGb: 21 };
  const labels = { ...labelsFor("sizes"), environment: "Our stand, no 1-", container: `odd/${"x".repeat(80)}` };
  const spec = await specOf(driver, "sizes", await image("onDemand"), { ...sizes, labels, env: { SECRET_KEY: "do not tell $(HOME)", EMPTY: "" } });
  const {
    addresses: [address],
  } = await driver.deploy(spec, call());
  t.match(await get(address as Address, "/env"), { SECRET_KEY: "do not tell $(HOME)", EMPTY: "" });

  const deployment = cluster.objects.find("deployments", NAMESPACE, "sizes");
  t.match(deployment, { spec: { replicas: 1, strategy: { type: "Recreate" } }, metadata: { labels: { "app.kubernetes.io/managed-by": "berth" } } });
  const pod = podOf("sizes");
  t.match(pod?.spec, {
    automountServiceAccountToken: false,
    enableServiceLinks: false,
    securityContext: { seccompProfile: { type: "RuntimeDefault" } },
    volumes: [{ name: "shm", emptyDir: { medium: "Memory", sizeLimit: "32Mi" } }],
    containers: [
      {
        image: spec.image,
        resources: { requests: { cpu: "250m", memory: "96Mi" }, limits: { cpu: "250m", memory: "96Mi", "ephemeral-storage": "21Gi" } },
        securityContext: { allowPrivilegeEscalation: false, capabilities: { drop: ["NET_RAW"] } },
        readinessProbe: { tcpSocket: { port: 15353 } },
        volumeMounts: [{ mountPath: "/dev/shm" }],
      },
    ],
  });
  t.notMatch(JSON.stringify([deployment, pod]), /do not tell/, "variables stand in a Secret only");
  t.match(cluster.objects.find("services", NAMESPACE, "sizes"), {
    spec: { ports: [{ port: 15353 }] },
    metadata: { ownerReferences: [{ uid: deployment?.metadata.uid }] },
  });
  t.match(cluster.objects.find("secrets", NAMESPACE, "sizes.env")?.metadata.ownerReferences, [{ kind: "Deployment", uid: deployment?.metadata.uid }]);
  t.strictSame((await driver.inspect("sizes", call()))?.labels, labels, "labels of any characters come back");
  await driver.destroy("sizes", call());
});

t.test("a Deployment that is removed takes the rest of its service with it", async (t) => {
  const { cluster, open, image, vanish } = await openWorld(t);
  const driver = open();
  await driver.deploy(await specOf(driver, "removed", await image("worker"), { graceMs: 1 }), call());
  await vanish("removed");
  await eventually("the Secret went too", async () => cluster.objects.all("secrets").length === 0);
  t.equal(await driver.inspect("removed", call()), undefined);
  await driver.destroy("removed", call());
});

t.test("a name of a foreign owner is not touched", async (t) => {
  const { cluster, open, image } = await openWorld(t);
  const driver = open();
  const spec = await specOf(driver, "foreign", await image("worker"), { graceMs: 1 });
  const theirs = await open().deploy(spec, call());
  t.ok(theirs);
  const other = { ...spec, labels: { ...spec.labels, store: "another" } };
  await rejectsWith(t, "SPEC_REFUSED", driver.deploy(other, call()));
  t.equal((await driver.inspect("foreign", call()))?.labels.store, spec.labels.store);
  await driver.destroy("foreign", call());

  const template = { metadata: { labels: { app: "theirs" } }, spec: { containers: [{ name: "theirs", image: "theirs:1" }] } };
  const own = {
    apiVersion: "apps/v1",
    kind: "Deployment",
    metadata: { name: "foreign" },
    spec: { selector: { matchLabels: { app: "theirs" } }, template },
  };
  t.equal(await applyAs(cluster, "kubectl", "/apis/apps/v1/namespaces/berth/deployments/foreign", own), 201);
  await rejectsWith(t, "SPEC_REFUSED", driver.deploy(spec, call()));
  t.equal(await driver.inspect("foreign", call()), undefined);
  t.equal(await text(driver.logs("foreign", { tail: 10 }, call())), "");
  await driver.destroy("foreign", call());
  t.ok(cluster.objects.find("deployments", NAMESPACE, "foreign"), "theirs is still there");
});

t.test("a field of another field manager is not taken over", async (t) => {
  const { cluster, open, image } = await openWorld(t);
  const driver = open();
  const spec = await specOf(driver, "shared", await image("worker"), { graceMs: 1 });
  const metadata = {
    name: "shared.env",
    annotations: { "berth.store": spec.labels.store, "berth.container": spec.labels.container },
    labels: { "app.kubernetes.io/managed-by": "berth" },
  };
  const secret = { apiVersion: "v1", kind: "Secret", metadata, type: "kubernetes.io/basic-auth", data: {} };
  t.equal(await applyAs(cluster, "kubectl", "/api/v1/namespaces/berth/secrets/shared.env", secret), 201);
  const fault = await rejectsWith(t, "SPEC_REFUSED", driver.deploy(spec, call()));
  t.match(fault.message, /conflict with "kubectl" using v1: \.type/);
});

t.test("the cluster restarts one that dies later, and the driver reports its end, its log tail and its return", async (t) => {
  const { open, image, kill } = await openWorld(t);
  const driver = open();
  const spec = await specOf(driver, "again", await image("worker"), { graceMs: 300 });
  await driver.deploy(spec, call());
  await kill("again");
  await eventually("its end is seen", async () => (await driver.inspect("again", call()))?.exit?.code === 137);
  await eventually("it runs again", async () => (await driver.inspect("again", call()))?.running === true);
  await eventually("both runs are in its log", async () => {
    const log = await text(driver.logs("again", { tail: 1_000 }, call()));
    return log.split("worker began").length === 3;
  });
  t.ok((await driver.deploy(spec, call())).phases.boot >= 299, "and it is adopted as it is");
  await kill("again");
  await eventually("it is not started again for a while", async () => (await driver.inspect("again", call()))?.running === false);
  await driver.deploy(spec, call());
  t.equal((await driver.inspect("again", call()))?.running, true, "a deploy does not wait for the cluster's back-off");
  await driver.destroy("again", call());
});
