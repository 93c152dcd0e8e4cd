import { createHash } from "node:crypto";
import { writeFileSync } from "node:fs";
import { request } from "node:https";
import { join } from "node:path";
import type { Test } from "tap";
import { type Clock, clockFrom, systemClock } from "../../../lib/clock.ts";
import type { Driver, DriverEvent, Registry } from "../../../drivers/driver.ts";
import { kubernetesDriver, type KubernetesOptions } from "../../../drivers/kubernetes/driver.ts";
import { readRecipe } from "../../../drivers/process/resolve.ts";
import { type Log, openLog } from "../../../lib/log.ts";
import { layOutFolder, type TestImage } from "../../fixtures/images.ts";
import { openApiServer } from "../../fixtures/kubernetes/api-server.ts";
import type { Node, NodeImage } from "../../fixtures/kubernetes/node.ts";
import { tempFolder } from "../../fixtures/temp-folder.ts";
import { type TestSource } from "../conformance.ts";
import { eventually } from "../../fixtures/eventually.ts";

export const RBAC = join(import.meta.dirname, "../../../conf/kubernetes/rbac.yaml");
export const SHELL_RBAC = join(import.meta.dirname, "../../../conf/kubernetes/rbac-shell.yaml");
export const NAMESPACE = "berth";
/** No registry listens there: its images are known without a query, but not their ports. */
export const REGISTRY = "127.0.0.1:1";

export type KubernetesWorld = Awaited<ReturnType<typeof openWorld>>;

/** A cluster of one node, a registry with the test images in it, and drivers over both. */
export async function openWorld(t: Test, more: { rbac?: string | readonly string[]; metrics?: boolean } = {}) {
  const folder = tempFolder(t);
  const images: Map<string, NodeImage> = new Map();
  const node: Node = { cpu: 16, memoryMb: 16_384, images };
  const cluster = await openApiServer({ folder, rbac: more.rbac ?? RBAC, namespace: NAMESPACE, node, metrics: more.metrics ?? true });
  t.teardown(() => cluster.close());
  const kubeconfig = join(folder, "kubeconfig");
  writeFileSync(kubeconfig, cluster.kubeconfig());

  const digests = new Map<string, string>();
  const put = (name: string, stored: NodeImage): string => {
    const ref = `${REGISTRY}/berth/${name.toLowerCase()}:1`;
    const digest = `sha256:${createHash("sha256").update(name).digest("hex")}`;
    digests.set(ref, digest);
    images.set(`${REGISTRY}/berth/${name.toLowerCase()}@${digest}`, stored);
    return ref;
  };
  const registry: Registry = {
    resolve: async (ref) => {
      const digest = digests.get(ref);
      return digest === undefined ? undefined : { reference: ref, digest };
    },
    fullNames: (ref) => (ref.startsWith(`${REGISTRY}/`) ? [ref] : []),
    login: async () => undefined,
  };
  const open = (options: Partial<KubernetesOptions & { clock: Clock; log: Log }> = {}) =>
    kubernetesDriver({
      kubeconfig,
      registry,
      registryHosts: ["127.0.0.1"],
      clock: systemClock(),
      log: openLog({ level: "silent", name: "test" }),
      ...options,
    });

  const podOf = (service: string) => cluster.objects.all("pods").find(({ metadata }) => metadata.labels?.["berth.service"] === service);
  return {
    cluster,
    images,
    folder,
    kubeconfig,
    registry,
    open,
    image: async (name: TestImage): Promise<TestSource> => {
      const at = layOutFolder(join(folder, name), name);
      return { ref: put(name, { folder: at }), port: (await readRecipe({ ref: name, folder: at })).exposed[0] };
    },
    /** The same without a shell. */
    bareImage: async (name: TestImage): Promise<TestSource> => {
      const at = layOutFolder(join(folder, `bare-${name}`), name);
      return { ref: put(`bare-${name}`, { folder: at, shell: false }), port: (await readRecipe({ ref: name, folder: at })).exposed[0] };
    },
    /** The same, which its registry gives to pods with credentials only. */
    privateImage: async (name: TestImage): Promise<TestSource> => {
      const at = layOutFolder(join(folder, `private-${name}`), name);
      return { ref: put(`private-${name}`, { folder: at, isPrivate: true }), port: (await readRecipe({ ref: name, folder: at })).exposed[0] };
    },
    /** One that the registry has and the node does not get, for this reason. */
    refused: (name: string, message: string): TestSource => ({ ref: put(name, { refused: message }), port: 8080 }),
    podOf,
    kill: async (service: string) => {
      const pod = podOf(service);
      const run = pod && cluster.kubelet.runsOf(pod).at(-1);
      run?.signal("SIGKILL");
      // Until then its kernel accepts connections, which break later.
      await run?.ended;
    },
    /** As `kubectl delete deployment` does. */
    vanish: async (service: string) => {
      const deployment = cluster.objects.find("deployments", NAMESPACE, service);
      if (deployment) cluster.objects.remove("deployments", deployment);
    },
    /** As `kubectl delete pod` does, or a node that is drained: another pod comes in its place, at another address. */
    move: async (service: string) => {
      const pod = podOf(service);
      if (pod) cluster.controllers.endPod(pod);
    },
    resolvesElsewhere: true as const,
    left: async (prefix: string) => {
      const all = ["deployments", "services", "secrets", "pods"].flatMap((resource) => cluster.objects.all(resource));
      const services = all.map(({ metadata }) => metadata.labels?.["berth.service"] ?? "").filter((service) => service.startsWith(prefix));
      return [...new Set(services)];
    },
  };
}

/** Hears the driver's events, from when it is connected and watches. */
export async function listen(driver: Driver, cluster: KubernetesWorld["cluster"]) {
  const caller = new AbortController();
  const events: DriverEvent[] = [];
  const listening = (async () => {
    for await (const event of driver.events({ signal: caller.signal })) events.push(event);
  })();
  await eventually("connected", () => events[0]?.kind === "connected" && cluster.watching() === 1);
  const end = async () => {
    caller.abort();
    await listening;
  };
  return { events, end };
}

/** Time that passes so many times as fast, for who waits. */
export function faster(times: number): Clock {
  const system = systemClock();
  return clockFrom({ ...system, after: (ms, task) => system.after(ms / times, task) });
}

/** Server-side apply past the driver, as kubectl does it; resolves with the status of the answer. */
export async function applyAs(cluster: KubernetesWorld["cluster"], manager: string, path: string, body: object): Promise<number> {
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  const headers = { authorization: `Bearer ${cluster.administrator}`, "content-type": "application/apply-patch+yaml" };
  request(`${cluster.url}${path}?fieldManager=${manager}`, { method: "PATCH", headers, ca: cluster.ca }, (response) => {
    response.resume();
    resolve(response.statusCode ?? 0);
  })
    .on("error", reject)
    .end(JSON.stringify(body));
  return promise;
}
