import type { V1Deployment, V1Pod, V1ContainerStateTerminated } from "@kubernetes/client-node";
import type { Address, Call, Observed } from "../driver.ts";
import type { KubernetesApi } from "./cluster.ts";
import { readLabels, readPort, SELECT_OURS, selectService, serviceOf } from "./labels.ts";
import { find, isOf, listAll } from "./objects.ts";
import type { FaultCode } from "../../lib/fault.ts";
import { cut } from "./faults.ts";
import { CONTAINER } from "./definition.ts";

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

/**
 * What a pod's status comes to: https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/ . `failing` is beyond repair;
 * `struggling` may still come right, since the cluster goes on trying.
 */
export type PodState =
  | { is: "pending" }
  /** `vague`: it says less than the struggle before it did. */
  | { is: "struggling"; code: FaultCode; says: string; vague?: true }
  | { is: "failing"; code: FaultCode; says: string }
  | { is: "running"; ready: boolean }
  | { is: "ended"; exit: PodExit; says: string };

export type PodExit = { code: number; outOfMemory: boolean };

/** Reasons for which a container waits, as the kubelet has them. */
const WAITING: Readonly<Record<string, { is: "struggling" | "failing"; code: FaultCode }>> = {
  InvalidImageName: { is: "failing", code: "IMAGE_REFERENCE_INVALID" },
  ErrImageNeverPull: { is: "failing", code: "IMAGE_NOT_FOUND" },
  // A Secret that it names may still come.
  CreateContainerConfigError: { is: "struggling", code: "SPEC_REFUSED" },
  CreateContainerError: { is: "struggling", code: "CONTAINER_CRASHED" },
  RunContainerError: { is: "failing", code: "CONTAINER_CRASHED" },
};

/** What the runtime of a node quotes of a registry; the first row that fits. What fits none may pass, as a registry that is away does. */
const PULLS: readonly { code: FaultCode; is: "struggling" | "failing"; text: RegExp }[] = [
  { is: "failing", code: "IMAGE_REFERENCE_INVALID", text: /invalid reference format|couldn't parse image/i },
  { is: "struggling", code: "NO_CAPACITY", text: /no space left on device/i },
  {
    is: "failing",
    code: "PULL_DENIED",
    text: /denied|unauthorized|forbidden|authentication required|authorization failed|no basic auth|\b40[13]\b/i,
  },
  { is: "failing", code: "IMAGE_NOT_FOUND", text: /not found|manifest unknown|name unknown|no match for platform|no matching manifest|\b404\b/i },
  {
    is: "struggling",
    code: "REGISTRY_UNREACHABLE",
    text: /dial tcp|i\/o timeout|timeout|no such host|connection re|x509|tls:|EOF|\b5\d\d\b|too ?many ?requests/i,
  },
];

export function podStateOf(pod: V1Pod): PodState {
  const { phase, reason, message, conditions, containerStatuses } = pod.status ?? {};
  const status = containerStatuses?.find(({ name }) => name === CONTAINER);
  // Evicted, or refused by its node: a pod that failed as a whole never runs again.
  if (phase === "Failed" && !status?.state?.terminated) {
    return { is: "ended", exit: { code: 137, outOfMemory: false }, says: `${reason ?? "Failed"}: ${cut(message ?? "")}` };
  }
  const { waiting, running, terminated } = status?.state ?? {};
  if (terminated) return ended(terminated);
  if (running) return { is: "running", ready: status?.ready ?? false };
  if (waiting?.reason === "CrashLoopBackOff" && status?.lastState?.terminated) return ended(status.lastState.terminated);
  if (waiting?.reason === "ErrImagePull" || waiting?.reason === "ImagePullBackOff") return pullVerdict(waiting.message ?? "");
  const known = WAITING[waiting?.reason ?? ""];
  if (known) return { ...known, says: `${waiting?.reason}: ${cut(waiting?.message ?? "")}` };
  const placed = conditions?.find(({ type }) => type === "PodScheduled");
  if (placed?.status === "False" && placed.reason === "Unschedulable") {
    return { is: "struggling", code: "CONTAINER_UNSCHEDULABLE", says: `no node fits: ${cut(placed.message ?? "")}` };
  }
  return { is: "pending" };
}

/** Times that it was started again in this pod, by the cluster. */
export function restartsOf(pod: V1Pod): number {
  return pod.status?.containerStatuses?.find(({ name }) => name === CONTAINER)?.restartCount ?? 0;
}

/** The last lines that it wrote, as the kubelet kept them with its end; empty where it ended well. */
export function lastMessage(pod: V1Pod): string {
  const status = pod.status?.containerStatuses?.find(({ name }) => name === CONTAINER);
  return (status?.state?.terminated ?? status?.lastState?.terminated)?.message ?? "";
}

/** How it ended the last time, where it runs again by now. */
export function lastEnd(pod: V1Pod): Extract<PodState, { is: "ended" }> | undefined {
  const terminated = pod.status?.containerStatuses?.find(({ name }) => name === CONTAINER)?.lastState?.terminated;
  return terminated && ended(terminated);
}

function ended({ exitCode: code, reason, message }: V1ContainerStateTerminated): Extract<PodState, { is: "ended" }> {
  // A command that cannot be started is told here, with the runtime's sentence.
  const says = reason === "StartError" || reason === "ContainerCannotRun" ? `: ${cut(message ?? "")}` : "";
  return { is: "ended", exit: { code, outOfMemory: reason === "OOMKilled" }, says };
}

/** While it backs off, a kubelet may say no more than that it does: the cause came with the attempt before. */
function pullVerdict(message: string): PodState {
  const row = PULLS.find(({ text }) => text.test(message));
  if (row) return { is: row.is, code: row.code, says: cut(message) };
  return { is: "struggling", code: "IMAGE_NOT_FOUND", says: cut(message), vague: true };
}
