import type { V1ContainerStateTerminated, V1Deployment, V1Pod } from "@kubernetes/client-node";
import type { FaultCode } from "../../lib/fault.ts";
import type { Call, Observed, Usage } from "../driver.ts";
import type { KubernetesApi } from "./cluster.ts";
import { CONTAINER, readLabels, readPort, SELECT_OURS, selectService, serviceOf } from "./definition.ts";
import { answered, cut } from "./faults.ts";
import { find, isOf, listAll } from "./objects.ts";
import { addressOf } from "./pod-address.ts";
import { isRootRefused } from "./security.ts";

/** Services that this process knows to exist. The value: the uid of the pod that was ready for this process; the kubelet may report its start later. */
export type ExistingServices = Map<string, string | undefined>;

/** An object with the service's name that berth did not create does not count. */
export async function inspect(cluster: KubernetesApi, service: string, existing: ExistingServices, { signal }: Call): Promise<Observed | undefined> {
  const deployment = await find(cluster, "deployments", service, signal);
  if (!deployment || !isOf(deployment.metadata, service)) return undefined;
  const { items } = await listAll(cluster, "pods", selectService(service), signal);
  return observe(deployment, items, existing);
}

/** Two calls, however many services there are. */
export async function list(cluster: KubernetesApi, existing: ExistingServices, { signal }: Call): Promise<Observed[]> {
  const deployments = await listAll(cluster, "deployments", SELECT_OURS, signal);
  const pods = Map.groupBy((await listAll(cluster, "pods", SELECT_OURS, signal)).items, (pod) => serviceOf(pod.metadata));
  return deployments.items.flatMap((deployment) => observe(deployment, pods.get(serviceOf(deployment.metadata)) ?? [], existing) ?? []);
}

/**
 * A service whose container ended does not run until the cluster has restarted it; then it runs at the same address. A service without a pod does not
 * run.
 */
export function observe(deployment: V1Deployment, pods: readonly V1Pod[], existing: ExistingServices): Observed | undefined {
  const labels = readLabels(deployment.metadata);
  const service = serviceOf(deployment.metadata);
  if (!labels || service === undefined) return undefined;
  const pod = currentPod(pods);
  const state = pod && podStateOf(pod);
  if (state?.is === "ended") return { service, labels, running: false, addresses: [], exit: state.exit };
  const wasReady = state?.is === "pending" && existing.get(service) === pod?.metadata?.uid;
  if (state?.is !== "running" && !wasReady) return { service, labels, running: false, addresses: [] };
  const address = addressOf(readPort(deployment.metadata), pod);
  return { service, labels, running: true, instance: pod?.metadata?.uid, addresses: address ? [address] : [] };
}

/** The pod that is to stay: not being deleted, not failed as a whole, the newest. */
export function currentPod(pods: Iterable<V1Pod>): V1Pod | undefined {
  const rank = (pod: V1Pod) => (pod.metadata?.deletionTimestamp ? 0 : pod.status?.phase === "Failed" ? 1 : 2);
  const bornOn = (pod: V1Pod) => String(pod.metadata?.creationTimestamp ?? "");
  return [...pods].toSorted((one, other) => rank(other) - rank(one) || bornOn(other).localeCompare(bornOn(one)))[0];
}

/**
 * The state of a pod from its status: https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/ . `failing` cannot recover; `struggling` may, because
 * the cluster retries.
 */
export type PodState =
  | { is: "pending" }
  /** `vague`: its reason has less detail than the one before. */
  | { is: "struggling"; code: FaultCode; reason: string; vague?: true }
  | { is: "failing"; code: FaultCode; reason: string }
  | { is: "running"; ready: boolean }
  | { is: "ended"; exit: PodExit; reason: string };

type PodExit = { code: number; outOfMemory: boolean };

/** Reasons of the kubelet for a waiting container. */
const WAITING: Readonly<Record<string, { is: "struggling" | "failing"; code: FaultCode }>> = {
  InvalidImageName: { is: "failing", code: "IMAGE_REFERENCE_INVALID" },
  ErrImageNeverPull: { is: "failing", code: "IMAGE_NOT_FOUND" },
  // Its Secret may still be created.
  CreateContainerConfigError: { is: "struggling", code: "SPEC_REFUSED" },
  CreateContainerError: { is: "struggling", code: "CONTAINER_CRASHED" },
  RunContainerError: { is: "failing", code: "CONTAINER_CRASHED" },
};

/** Errors of registries as the runtimes of nodes quote them; the first row that fits. An error without a row may be temporary. */
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

/** The scheduler's words for a node that would fit if less ran there. Without them, rules exclude every node. */
const FULL = /Insufficient |Too many pods|didn't have free ports/;

export function podStateOf(pod: V1Pod): PodState {
  const { phase, reason: podReason, message, conditions, containerStatuses } = pod.status ?? {};
  const status = containerStatuses?.find(({ name }) => name === CONTAINER);
  // Evicted, or refused by its node: a failed pod never runs again.
  if (phase === "Failed" && !status?.state?.terminated) {
    return { is: "ended", exit: { code: 137, outOfMemory: false }, reason: `${podReason ?? "Failed"}: ${cut(message ?? "")}` };
  }
  const { waiting, running, terminated } = status?.state ?? {};
  if (terminated) return ended(terminated);
  if (running) return { is: "running", ready: status?.ready ?? false };
  if (waiting?.reason === "CrashLoopBackOff" && status?.lastState?.terminated) return ended(status.lastState.terminated);
  if (waiting?.reason === "ErrImagePull" || waiting?.reason === "ImagePullBackOff") return pullState(waiting.message ?? "");
  if (waiting && isRootRefused(waiting.message ?? "")) return { is: "failing", code: "SPEC_REFUSED", reason: cut(waiting.message ?? "") };
  const row = WAITING[waiting?.reason ?? ""];
  if (row) return { ...row, reason: `${waiting?.reason}: ${cut(waiting?.message ?? "")}` };
  const placed = conditions?.find(({ type }) => type === "PodScheduled");
  if (placed?.status === "False" && placed.reason === "Unschedulable") {
    const message = placed.message ?? "";
    return { is: "struggling", code: FULL.test(message) ? "NO_CAPACITY" : "CONTAINER_UNSCHEDULABLE", reason: `no node fits: ${cut(message)}` };
  }
  return { is: "pending" };
}

/** How often the cluster has restarted the container in this pod. */
export function restartsOf(pod: V1Pod): number {
  return pod.status?.containerStatuses?.find(({ name }) => name === CONTAINER)?.restartCount ?? 0;
}

/** The log tail that the kubelet keeps in the status of an ended container; empty after exit code 0. */
export function lastMessage(pod: V1Pod): string {
  const status = pod.status?.containerStatuses?.find(({ name }) => name === CONTAINER);
  return (status?.state?.terminated ?? status?.lastState?.terminated)?.message ?? "";
}

/** The previous end of a restarted container. */
export function lastEnd(pod: V1Pod): Extract<PodState, { is: "ended" }> | undefined {
  const terminated = pod.status?.containerStatuses?.find(({ name }) => name === CONTAINER)?.lastState?.terminated;
  return terminated && ended(terminated);
}

function ended({ exitCode: code, reason, message }: V1ContainerStateTerminated): Extract<PodState, { is: "ended" }> {
  // The runtime's sentence about a command that cannot be started.
  const failedStart = reason === "StartError" || reason === "ContainerCannotRun";
  return { is: "ended", exit: { code, outOfMemory: reason === "OOMKilled" }, reason: failedStart ? cut(message ?? "") : "" };
}

/** During its back-off a kubelet may report only that: the cause was in the attempt before. */
function pullState(message: string): PodState {
  const row = PULLS.find(({ text }) => text.test(message));
  if (row) return { is: row.is, code: row.code, reason: cut(message) };
  return { is: "struggling", code: "IMAGE_NOT_FOUND", reason: cut(message), vague: true };
}

/** https://github.com/kubernetes/metrics, v1beta1: the mean of a window. It has no network. */
type PodMetrics = { window?: string; containers?: { name: string; usage?: { cpu?: string; memory?: string } }[] };

/** Undefined if the cluster serves no metrics, or no metrics of this pod yet, or berth may not read them. */
export async function usage(cluster: KubernetesApi, service: string, signal: AbortSignal): Promise<Usage | undefined> {
  const query = { labelSelector: selectService(service) };
  let items: PodMetrics[];
  try {
    ({ items } = await cluster.call<{ items: PodMetrics[] }>({ doing: "Reading metrics", verb: "list", resource: "podmetrics", query, signal }));
  } catch (error) {
    // 503: the API is registered, and the server behind it does not run.
    if (answered(error, 403, 404, 503)) return undefined;
    throw error;
  }
  const windowMs = parseSeconds(items[0]?.window) * 1_000;
  if (!(windowMs > 0)) return undefined;
  const containers = items.flatMap((item) => item.containers ?? []).filter(({ name }) => name === CONTAINER);
  const cores = containers.reduce((sum, container) => sum + parseCores(container.usage?.cpu), 0);
  const memoryBytes = containers.reduce((sum, container) => sum + parseBytes(container.usage?.memory), 0);
  return { cpuMs: cores * windowMs, networkBytes: 0, windowMs, ...(memoryBytes > 0 ? { memoryBytes } : {}) };
}

/** As Kubernetes writes quantities; a metrics server writes `Ki`. */
const UNITS: Readonly<Record<string, number>> = {
  m: 1e-3,
  "": 1,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
  Ki: 2 ** 10,
  Mi: 2 ** 20,
  Gi: 2 ** 30,
  Ti: 2 ** 40,
};

/** A quantity such as `12345Ki`. */
function parseBytes(quantity = ""): number {
  const [, number = "0", unit = ""] = /^(\d+(?:\.\d+)?)([a-zA-Z]*)$/.exec(quantity) ?? [];
  return Math.round(Number(number) * (UNITS[unit] ?? 0));
}

const FRACTIONS: Readonly<Record<string, number>> = { n: 1e-9, u: 1e-6, m: 1e-3, "": 1 };

function parseCores(quantity = ""): number {
  const [, number = "0", unit = ""] = /^(\d+(?:\.\d+)?)([num]?)$/.exec(quantity) ?? [];
  return Number(number) * (FRACTIONS[unit] ?? 0);
}

/** A duration as Go writes it, such as `1m0.5s`. */
function parseSeconds(duration = ""): number {
  const [, minutes = "0", seconds = "0"] = /^(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s)?$/.exec(duration) ?? [];
  return Number(minutes) * 60 + Number(seconds);
}
