/**
 * The conformance kit on a real cluster: `TEST_CLUSTER=<kubeconfig of an administrator> TEST_REGISTRY=<host:port> node test/drivers/kubernetes/on-cluster.ts`.
 */
import { writeFileSync, readFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { kubernetesDriver, type KubernetesOptions } from "../../../drivers/kubernetes/driver.ts";
import { systemClock } from "../../../lib/clock.ts";
import { openLog } from "../../../lib/log.ts";
import { openGivenCluster } from "../../fixtures/kubernetes/given-cluster.ts";
import { tempFolder } from "../../fixtures/temp-folder.ts";
import { conformance } from "../conformance.ts";
import { BACKENDS } from "../conformance/backends.ts";
import { openGate } from "../engine/engine-gate.ts";

const folder = tempFolder(t);
const cluster = await openGivenCluster(folder);
const images = await cluster.push();
const open = (more: Partial<KubernetesOptions> = {}) =>
  kubernetesDriver({
    kubeconfig: cluster.kubeconfig,
    registryHosts: [new URL(`http://${cluster.registry}`).hostname],
    clock: systemClock(),
    log: openLog({ level: "silent", name: "test" }),
    gpuPatienceMs: 5_000,
    ...more,
  });

await conformance(t, {
  ...cluster,
  open,
  image: async (name) => ({ ref: images[name] }),
  unknown: async () => ({ ref: `${cluster.registry}/absent/nothing:1` }),
  way: async (t) => {
    const { hostname: host, port } = new URL(cluster.url);
    const gate = await openGate(t, { host, port: Number(port || 443) });
    const kubeconfig = join(folder, "through-the-gate");
    writeFileSync(kubeconfig, readFileSync(cluster.kubeconfig, "utf8").replace(cluster.url, gate.host.replace("tcp:", "https:")));
    return { ...gate, driver: open({ kubeconfig }) };
  },
  resolvesElsewhere: true,
  cannot: { ...BACKENDS.kubernetes.cannot, ...(process.env["TEST_METRICS"] === "no" ? { usage: "the cluster has no metrics server" } : {}) },
});
