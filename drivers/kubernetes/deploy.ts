import type { V1Pod } from "@kubernetes/client-node";
import { trimTrailing } from "../../lib/character-classes.ts";
import { Fault, type FaultCode } from "../../lib/fault.ts";
import { type DeployCall, type Deployment, leavesRunning, type Spec } from "../driver.ts";
import { gpuFault } from "../gpu.ts";
import { awaitReady, firstOf, healthAddress } from "../ready.ts";
import type { KubernetesApi } from "./cluster.ts";
import { createOrAdopt, destroy, type KubernetesTools } from "./create-destroy.ts";
import { readLabels, selectService } from "./definition.ts";
import { watchPods } from "./events.ts";
import { admissionFault, isGpuShortage } from "./faults.ts";
import { podCrashFault } from "./logs.ts";
import { find } from "./objects.ts";
import { currentPod, type PodState, podStateOf, restartsOf } from "./observe.ts";
import { addressOf, hostOf } from "./pod-address.ts";
import { isRootRefused, type NamespaceSecurity, type PodSecurity, RESTRICTED_WARNING } from "./security.ts";

/** How long the cluster may retry by itself; `gpuPatienceMs`: while it has no GPU. */
export type KubernetesPatience = { patienceMs: number; gpuPatienceMs: number };

type KubernetesDeployTools = KubernetesTools & KubernetesPatience & { security: NamespaceSecurity };

/** Creates or adopts the service, then waits until it answers or cannot start. */
export async function deploy(cluster: KubernetesApi, spec: Spec, tools: KubernetesDeployTools, call: DeployCall): Promise<Deployment> {
  const security = tools.security.current();
  try {
    return await deployWith(cluster, spec, security, tools, call);
  } catch (error) {
    if (!tools.security.noteRefusal(error, security, spec.service)) throw error;
    call.signal.throwIfAborted();
    return deployWith(cluster, spec, "restricted", tools, call);
  }
}

async function deployWith(
  cluster: KubernetesApi,
  spec: Spec,
  security: PodSecurity,
  tools: KubernetesDeployTools,
  call: DeployCall,
): Promise<Deployment> {
  const { clock } = cluster;
  const { signal } = call;
  const began = clock.monotonic();
  const { adopted, setOwners } = await createOrAdopt(cluster, spec, security, tools, call);
  const owned = setOwners();
  try {
    signal.throwIfAborted();
    call.onLaunched?.();
    const { addresses, instance, startedOn } = await waitUntilReady(
      cluster,
      spec,
      { adopted, patienceMs: tools.patienceMs, gpuPatienceMs: tools.gpuPatienceMs, onPull: call.onPull },
      call,
    );
    await owned;
    const phases = { create: startedOn - began, boot: clock.monotonic() - startedOn };
    tools.log.debug({ service: spec.service, adopted, phases }, "service ready");
    return { addresses, instance, phases, ...(security === "restricted" && !adopted ? { warning: RESTRICTED_WARNING } : {}) };
  } catch (error) {
    await owned;
    if (!leavesRunning(call))
      await destroy(cluster, spec.service).catch((err: unknown) =>
        tools.log.warn({ service: spec.service, err }, "cleanup after failed start failed"),
      );
    throw error;
  }
}

type ReadyPod = Pick<Deployment, "addresses" | "instance"> & { startedOn: number };
type StartedPod = { pod: V1Pod; startedOn: number };

/** Resolves when the service is ready, rejects when it cannot become ready. */
function waitUntilReady(cluster: KubernetesApi, spec: Spec, start: Omit<PodStart, "onStarted">, call: DeployCall): Promise<ReadyPod> {
  const ready = Promise.withResolvers<ReadyPod>();
  let last = new AbortController();
  return firstOf<ReadyPod>(call.signal, (signal) => {
    const onStarted = (started: StartedPod) => {
      // A pod gets another address if its network was set up again.
      last.abort();
      last = new AbortController();
      const own = AbortSignal.any([signal, last.signal]);
      connect(cluster, spec, started, { ...call, signal: own, adopted: start.adopted }).then(ready.resolve, (error: unknown) => {
        if (!own.aborted) ready.reject(error);
      });
    };
    return [watchStart(cluster, spec, { ...start, onStarted }, signal), ready.promise];
  });
}

async function connect(
  cluster: KubernetesApi,
  spec: Spec,
  { pod, startedOn }: StartedPod,
  call: DeployCall & { adopted: boolean },
): Promise<ReadyPod> {
  const { clock } = cluster;
  const { signal, onAddresses, onHealthStatus, onLookup, adopted } = call;
  const address = addressOf(spec.port, pod);
  const instance = pod.metadata?.uid;
  if (address) onAddresses?.([address], instance, !adopted);
  // Its Service has only the container's own port.
  await awaitReady(spec, { address, proof: "accepted", health: healthAddress(spec, hostOf(pod)) }, { clock, signal, onHealthStatus, onLookup });
  return { addresses: address ? [address] : [], instance, startedOn };
}

/** How often the limits of a start are checked, and the reason of a missing pod. */
const CHECK_EVERY_MS = 500;
/** A quota still counts a removed pod for a moment. */
const QUOTA_MS = 2_000;

type PodStart = KubernetesPatience & {
  adopted: boolean;
  onPull: DeployCall["onPull"];
  /** Called with the pod that runs. */
  onStarted(started: StartedPod): void;
};

/**
 * Watches a start and rejects with its failure; never resolves. While the cluster is unreachable, calls are repeated: what runs continues.
 * Faults: IMAGE_NOT_FOUND, IMAGE_REFERENCE_INVALID, PULL_DENIED, REGISTRY_UNREACHABLE, NO_CAPACITY, SPEC_REFUSED, CONTAINER_UNSCHEDULABLE,
 * CONTAINER_CRASHED, CONTAINER_OUT_OF_MEMORY, ENGINE_ACTION_DENIED.
 */
async function watchStart(cluster: KubernetesApi, spec: Spec, start: PodStart, signal: AbortSignal): Promise<never> {
  const { clock } = cluster;
  const observed: ObservedStart = {};
  return Promise.race([followPod(cluster, spec, start, observed, signal), checkLimits()]);

  async function checkLimits(): Promise<never> {
    for (let refusedOn: number | undefined; ;) {
      await clock.sleep(CHECK_EVERY_MS, signal);
      const { pod, struggle } = observed;
      const patienceMs = isGpuShortage(struggle?.reason ?? "") ? start.gpuPatienceMs : start.patienceMs;
      if (struggle && clock.monotonic() - struggle.since > patienceMs) throw startFault(spec.service, pod, struggle);
      // A pull may take long, and the cluster reports no progress.
      if (pod && podStateOf(pod).is === "pending") start.onPull?.({ done: 0, total: 0 });
      const why = pod ? undefined : await whyNoPod(cluster, spec.service, signal);
      refusedOn = why ? (refusedOn ?? clock.monotonic()) : undefined;
      if (why && (why.code !== "NO_CAPACITY" || clock.monotonic() - (refusedOn ?? 0) >= QUOTA_MS)) throw why;
    }
  }
}

type Struggle = Extract<PodState, { is: "struggling" }> & { since: number };
type ObservedStart = { pod?: V1Pod | undefined; struggle?: Struggle | undefined };

async function followPod(
  cluster: KubernetesApi,
  spec: Spec,
  { adopted, onStarted }: PodStart,
  observed: ObservedStart,
  signal: AbortSignal,
): Promise<never> {
  const { clock } = cluster;
  let restarts: number | undefined;
  let runs: V1Pod | undefined;
  // What was adopted exists already, and may be gone again.
  for await (const { pods, broken } of watchPods(cluster, selectService(spec.service), signal, throwIfPermanent, { unlisted: !adopted })) {
    if (broken) continue;
    const pod = currentPod(ofGeneration(pods.values(), spec));
    observed.pod = pod;
    if (runs && pod?.metadata?.uid !== runs.metadata?.uid)
      throw new Fault("CONTAINER_CRASHED", `${spec.service}: its pod was taken away${adopted ? "" : " before it was ready"}.`);
    if (!pod) continue;
    const state = podStateOf(pod);
    // Restarts before the adoption do not count.
    restarts ??= adopted ? restartsOf(pod) : 0;
    if (state.is === "ended" || restartsOf(pod) > restarts) throw await podCrashFault(cluster, spec, { pod, adopted }, signal);
    if (state.is === "failing") throw startFault(spec.service, pod, state);
    observed.struggle = state.is === "struggling" ? struggling(state, observed.struggle, clock.monotonic()) : undefined;
    // Its network plugin may report its address before the kubelet reports its start.
    const isReachable = state.is === "pending" && spec.readiness.kind !== "running" && addressOf(spec.port, pod) !== undefined;
    if (state.is !== "running" && !isReachable) continue;
    // Its address may appear a moment after its start.
    if (spec.port !== undefined && !addressOf(spec.port, pod)) continue;
    if (!runs || hostOf(runs) !== hostOf(pod)) onStarted({ pod, startedOn: clock.monotonic() });
    runs = pod;
  }
  throw signal.reason;
}

/** Its time counts from its first report; its cause is the last report that is not vague. */
function struggling(state: Extract<PodState, { is: "struggling" }>, before: Struggle | undefined, now: number): Struggle {
  return { ...(state.vague && before ? before : state), since: before?.since ?? now };
}

/** A pod of an older generation may still be stopping. */
function ofGeneration(pods: Iterable<V1Pod>, spec: Spec): V1Pod[] {
  return [...pods].filter(({ metadata }) => !metadata?.deletionTimestamp && readLabels(metadata)?.generation === spec.labels.generation);
}

/** The Deployment's controller reports a quota or a policy that stops it in a condition. */
async function whyNoPod(cluster: KubernetesApi, service: string, signal: AbortSignal): Promise<Fault | undefined> {
  let deployment;
  try {
    deployment = await find(cluster, "deployments", service, signal);
  } catch (error) {
    signal.throwIfAborted();
    throwIfPermanent(error);
    return undefined;
  }
  if (!deployment || deployment.metadata?.deletionTimestamp) return new Fault("CONTAINER_CRASHED", `${service} was removed before it was ready.`);
  const failed = deployment.status?.conditions?.find(({ type, status }) => type === "ReplicaFailure" && status === "True");
  return failed && admissionFault(service, failed.message ?? failed.reason ?? "");
}

/** Other faults may be temporary. */
function throwIfPermanent(error: unknown): void {
  if (!(error instanceof Fault) || error.code === "ENGINE_ACTION_DENIED") throw error;
}

/** Advice for a start that the cluster cannot make. */
const TODO: Partial<Record<FaultCode, string>> = {
  IMAGE_REFERENCE_INVALID: "Correct the image's name and publish again.",
  IMAGE_NOT_FOUND: "Push the image again, or correct its name, and publish again.",
  PULL_DENIED: "Give nodes credentials for it: GROK_SPAWNER_KUBERNETES__DOCKER_AUTH.",
  REGISTRY_UNREACHABLE: "Check that nodes reach that registry and trust its certificate.",
  NO_CAPACITY: "Free capacity, add a node, or request less in container.json.",
  CONTAINER_UNSCHEDULABLE: "Add a node that fits, or change the rule in the message.",
};

/** The fault of a pod that cannot run, with the cluster's own sentence. A denied pull names its credentials. */
function startFault(service: string, pod: V1Pod | undefined, { code, reason }: { code: FaultCode; reason: string }): Fault {
  if (isGpuShortage(reason)) return gpuFault(`${service}: ${reason}`);
  if (isRootRefused(reason))
    return new Fault(
      code,
      `${service}: ${trimTrailing(reason, " \t\r\n.")}. ${RESTRICTED_WARNING} Set a numeric USER in its Dockerfile, or let the namespace enforce baseline.`,
    );
  const secrets = (pod?.spec?.imagePullSecrets ?? []).map(({ name }) => name);
  const whose = secrets.length === 0 ? "no credentials but the node's own" : `those of ${secrets.join(" and ")}`;
  const sentence = code === "PULL_DENIED" ? `${reason} (pulled with ${whose})` : reason;
  const todo = TODO[code];
  return new Fault(code, `${service}: ${trimTrailing(sentence, " \t\r\n.")}.${todo === undefined ? "" : ` ${todo}`}`);
}
