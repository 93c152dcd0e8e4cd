import type { V1Pod } from "@kubernetes/client-node";
import type { DeployCall, Deployment, Spec } from "../driver.ts";
import { awaitReady } from "../ready.ts";
import type { KubernetesApi } from "./cluster.ts";
import { createOrAdopt, type KubernetesTools } from "./create.ts";
import { destroy } from "./destroy.ts";
import { addressOf, currentPod, restartsOf, type PodState, podStateOf } from "./observe.ts";
import { Fault, type FaultCode } from "../../lib/fault.ts";
import { podCrashFault } from "./logs.ts";
import { admissionFault } from "./faults.ts";
import { readLabels, selectService } from "./labels.ts";
import { find } from "./objects.ts";
import { watchPods } from "./events.ts";
import { trimTrailing } from "../../lib/trim-trailing.ts";

/** Makes or adopts the service, then waits until it answers or is beyond hope. `patienceMs` is how long the cluster may struggle on its own. */
export async function deploy(
  cluster: KubernetesApi,
  spec: Spec,
  tools: KubernetesTools & { patienceMs: number },
  call: DeployCall,
): Promise<Deployment> {
  const { clock } = cluster;
  const { signal } = call;
  const began = clock.monotonic();
  const { adopted } = await createOrAdopt(cluster, spec, tools, call);
  try {
    signal.throwIfAborted();
    call.onLaunched?.();
    const { address, instance, startedOn } = await alive(cluster, spec, { adopted, patienceMs: tools.patienceMs, onPull: call.onPull }, call);
    const phases = { create: startedOn - began, boot: clock.monotonic() - startedOn };
    tools.log.debug({ service: spec.service, adopted, phases }, "Ready.");
    return { ...(address ? { address } : {}), instance, phases };
  } catch (error) {
    await destroy(cluster, spec.service).catch((err: unknown) =>
      tools.log.warn({ service: spec.service, err }, "Could not remove what is left of a failed start."),
    );
    throw error;
  }
}

type Alive = Pick<Deployment, "address" | "instance"> & { startedOn: number };

/** Resolves when the service is ready, rejects as soon as that is hopeless; whichever loses is called off. */
async function alive(cluster: KubernetesApi, spec: Spec, start: Omit<PodStart, "started">, call: DeployCall): Promise<Alive> {
  const over = new AbortController();
  const signal = AbortSignal.any([call.signal, over.signal]);
  const starts = Promise.withResolvers<{ pod: V1Pod; startedOn: number }>();
  try {
    return await Promise.race([
      watchStart(cluster, spec, { ...start, started: starts.resolve }, signal),
      starts.promise.then((found) => ready(cluster, spec, found, { ...call, signal, adopted: start.adopted })),
    ]);
  } finally {
    over.abort(new Error("The start is decided."));
  }
}

async function ready(
  cluster: KubernetesApi,
  spec: Spec,
  { pod, startedOn }: { pod: V1Pod; startedOn: number },
  call: DeployCall & { adopted: boolean },
): Promise<Alive> {
  const { clock } = cluster;
  const { signal, onAddress, adopted } = call;
  const address = addressOf(cluster, spec.service, spec.port, pod);
  const instance = pod.metadata?.uid;
  if (address) onAddress?.(address, instance, !adopted);
  if (address) await awaitReady(address, "accepted", { clock, signal });
  else await clock.sleep(spec.graceMs, signal);
  return { address, instance, startedOn };
}

/** How often it is asked why there is no pod yet, and whether patience is at its end. */
const LOOK_EVERY_MS = 500;
/** A quota learns of a pod that has gone a moment later; what it says until then is about that one. */
const QUOTA_MS = 2_000;

/** A start as it is watched. `patienceMs` is how long the cluster may struggle on its own; `started` is told of the pod that runs. */
export type PodStart = {
  adopted: boolean;
  patienceMs: number;
  onPull: DeployCall["onPull"];
  started(found: { pod: V1Pod; startedOn: number }): void;
};

/**
 * Follows a start and rejects with what goes wrong with it; never resolves. A cluster that cannot be asked meanwhile is asked again: what it runs, it runs.
 * Faults: IMAGE_NOT_FOUND, IMAGE_REFERENCE_INVALID, PULL_DENIED, REGISTRY_UNREACHABLE, NO_CAPACITY, SPEC_REFUSED, CONTAINER_UNSCHEDULABLE,
 * CONTAINER_CRASHED, CONTAINER_OUT_OF_MEMORY, ENGINE_ACTION_DENIED.
 */
export async function watchStart(cluster: KubernetesApi, spec: Spec, start: PodStart, signal: AbortSignal): Promise<never> {
  const { clock } = cluster;
  const seen: { pod?: V1Pod | undefined; struggle?: Struggle | undefined } = {};
  return Promise.race([followPod(cluster, spec, start, seen, signal), losePatience()]);

  async function losePatience(): Promise<never> {
    for (let refusedOn: number | undefined; ;) {
      await clock.sleep(LOOK_EVERY_MS, signal);
      const { pod, struggle } = seen;
      if (struggle && clock.monotonic() - struggle.since > start.patienceMs) throw startFault(spec.service, pod, struggle);
      // An image may be long on its way, which the cluster does not count for us.
      if (pod && podStateOf(pod).is === "pending") start.onPull?.({ done: 0, total: 0 });
      const why = pod ? undefined : await whyNoPod(cluster, spec.service, signal);
      refusedOn = why ? (refusedOn ?? clock.monotonic()) : undefined;
      if (why && (why.code !== "NO_CAPACITY" || clock.monotonic() - (refusedOn ?? 0) >= QUOTA_MS)) throw why;
    }
  }
}

type Struggle = Extract<PodState, { is: "struggling" }> & { since: number };

async function followPod(
  cluster: KubernetesApi,
  spec: Spec,
  { adopted, started }: PodStart,
  seen: { pod?: V1Pod | undefined; struggle?: Struggle | undefined },
  signal: AbortSignal,
): Promise<never> {
  const { clock } = cluster;
  let restarts: number | undefined;
  let runs: V1Pod | undefined;
  for await (const { pods, broken } of watchPods(cluster, selectService(spec.service), signal, passOver)) {
    if (broken) continue;
    const pod = currentPod(ofGeneration(pods.values(), spec));
    seen.pod = pod;
    if (runs && pod?.metadata?.uid !== runs.metadata?.uid)
      throw new Fault("CONTAINER_CRASHED", `${spec.service}: its pod was taken away before it was ready.`);
    if (!pod) continue;
    const verdict = podStateOf(pod);
    // What it did before it was adopted is not this start's.
    restarts ??= adopted ? restartsOf(pod) : 0;
    if (verdict.is === "ended" || restartsOf(pod) > restarts) throw await podCrashFault(cluster, spec, pod, signal);
    if (verdict.is === "failing") throw startFault(spec.service, pod, verdict);
    seen.struggle = verdict.is === "struggling" ? struggling(verdict, seen.struggle, clock.monotonic()) : undefined;
    // Within the cluster its name leads to it once it is ready; asked for earlier, the name may be remembered as one of nobody.
    if (verdict.is !== "running" || (cluster.inside && spec.port !== undefined && !verdict.ready)) continue;
    // Its address may be told a moment after its start.
    if (spec.port !== undefined && !addressOf(cluster, spec.service, spec.port, pod)) continue;
    runs = pod;
    started({ pod, startedOn: clock.monotonic() });
  }
  throw signal.reason;
}

/** It counts from its first word on, and the last word that says anything is its cause. */
function struggling(verdict: Extract<PodState, { is: "struggling" }>, before: Struggle | undefined, now: number): Struggle {
  return { ...(verdict.vague && before ? before : verdict), since: before?.since ?? now };
}

/** A pod of an older generation may still be on its way out. */
function ofGeneration(pods: Iterable<V1Pod>, spec: Spec): V1Pod[] {
  return [...pods].filter(({ metadata }) => !metadata?.deletionTimestamp && readLabels(metadata)?.generation === spec.labels.generation);
}

/** A quota or a policy stops the Deployment's controller, which says so in a condition. */
async function whyNoPod(cluster: KubernetesApi, service: string, signal: AbortSignal): Promise<Fault | undefined> {
  let deployment;
  try {
    deployment = await find(cluster, "deployments", service, signal);
  } catch (error) {
    signal.throwIfAborted();
    passOver(error);
    return undefined;
  }
  if (!deployment || deployment.metadata?.deletionTimestamp) return new Fault("CONTAINER_CRASHED", `${service} was removed before it was ready.`);
  const failed = deployment.status?.conditions?.find(({ type, status }) => type === "ReplicaFailure" && status === "True");
  return failed && admissionFault(service, failed.message ?? failed.reason ?? "");
}

/** What time does not mend is thrown on. */
function passOver(error: unknown): void {
  if (!(error instanceof Fault) || error.code === "ENGINE_ACTION_DENIED") throw error;
}

/** What to do about a start that the cluster could not make, where its own sentence does not say. */
const TODO: Partial<Record<FaultCode, string>> = {
  IMAGE_REFERENCE_INVALID: "Correct the image's name and publish again.",
  IMAGE_NOT_FOUND: "Push the image again, or correct its name, and publish again.",
  PULL_DENIED: "Give nodes what they may pull it with: GROK_SPAWNER_KUBERNETES__DOCKER_AUTH.",
  REGISTRY_UNREACHABLE: "See that nodes reach that registry and trust its certificate.",
  NO_CAPACITY: "Make room, or ask for less in container.json.",
  CONTAINER_UNSCHEDULABLE: "Free or add a node that fits, or ask for less in container.json.",
};

/** The fault of a pod that cannot run, with the cluster's own sentence; a pull that was denied says with whose credentials it was asked. */
export function startFault(service: string, pod: V1Pod | undefined, { code, says }: { code: FaultCode; says: string }): Fault {
  const secrets = (pod?.spec?.imagePullSecrets ?? []).map(({ name }) => name);
  const whose = secrets.length === 0 ? "no credentials but the node's own" : `those of ${secrets.join(" and ")}`;
  const sentence = code === "PULL_DENIED" ? `${says} (asked with ${whose})` : says;
  const todo = TODO[code];
  return new Fault(code, `${service}: ${trimTrailing(sentence, " \t\r\n.")}.${todo === undefined ? "" : ` ${todo}`}`);
}
