import type { V1Deployment, V1Pod } from "@kubernetes/client-node";
import type { Address, Call, Observed } from "../driver.ts";
import type { KubernetesApi } from "./cluster.ts";
import { readLabels, readPort, SELECT_OURS, selectService, serviceOf } from "./labels.ts";
import { find, isOf, listAll } from "./objects.ts";
import { podStateOf } from "./pod-state.ts";

/** What is known of one service; something that only has its name, but is not ours, does not exist for berth. */
export async function inspect(cluster: KubernetesApi, service: string, { signal }: Call): Promise<Observed | undefined> {
  const deployment = await find(cluster, "deployments", service, signal);
  if (!deployment || !isOf(deployment.metadata, service)) return undefined;
  const { items } = await listAll(cluster, "pods", selectService(service), signal);
  return observed(cluster, deployment, items);
}

/** Two calls, however many there are. */
export async function list(cluster: KubernetesApi, { signal }: Call): Promise<Observed[]> {
  const deployments = await listAll(cluster, "deployments", SELECT_OURS, signal);
  const pods = Map.groupBy((await listAll(cluster, "pods", SELECT_OURS, signal)).items, (pod) => serviceOf(pod.metadata));
  return deployments.items.flatMap((deployment) => observed(cluster, deployment, pods.get(serviceOf(deployment.metadata)) ?? []) ?? []);
}

/**
 * One whose container ended is not running, until the cluster has started it again; then it is, at the address that it had. Nothing is
 * running of which the cluster made no pod.
 */
export function observed(cluster: KubernetesApi, deployment: V1Deployment, pods: readonly V1Pod[]): Observed | undefined {
  const labels = readLabels(deployment.metadata);
  const service = serviceOf(deployment.metadata);
  if (!labels || service === undefined) return undefined;
  const pod = currentPod(pods);
  const verdict = pod && podStateOf(pod);
  if (verdict?.is === "ended") return { service, labels, running: false, exit: verdict.exit };
  if (verdict?.is !== "running") return { service, labels, running: false };
  const address = addressOf(cluster, service, readPort(deployment.metadata), pod);
  return { service, labels, running: true, instance: pod?.metadata?.uid, ...(address ? { address } : {}) };
}

/** From within the cluster a service has a name, which outlives its pods; from outside only the pod's own address leads to it. */
export function addressOf(
  { inside, namespace }: KubernetesApi,
  service: string,
  port: number | undefined,
  pod: V1Pod | undefined,
): Address | undefined {
  if (port === undefined) return undefined;
  if (inside) return { host: `${service}.${namespace}.svc.cluster.local`, port };
  const host = pod?.status?.podIP;
  return host ? { host, port } : undefined;
}

/** Of several, the one that is to stay: not on its way out, not failed as a whole, the newest. */
export function currentPod(pods: Iterable<V1Pod>): V1Pod | undefined {
  const rank = (pod: V1Pod) => (pod.metadata?.deletionTimestamp ? 0 : pod.status?.phase === "Failed" ? 1 : 2);
  const bornOn = (pod: V1Pod) => String(pod.metadata?.creationTimestamp ?? "");
  return [...pods].toSorted((one, other) => rank(other) - rank(one) || bornOn(other).localeCompare(bornOn(one)))[0];
}
