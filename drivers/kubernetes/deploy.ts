import type { V1Pod } from "@kubernetes/client-node";
import { Fault } from "../../fault.ts";
import type { DeployCall, Deployment, Spec } from "../driver.ts";
import { awaitReady } from "../ready.ts";
import type { Cluster } from "./cluster.ts";
import { crashed } from "./crash.ts";
import { createOrAdopt, type Tools } from "./create.ts";
import { destroy } from "./destroy.ts";
import { admissionFault } from "./faults.ts";
import { readLabels, selectService } from "./labels.ts";
import { find } from "./objects.ts";
import { addressOf, currentPod } from "./observe.ts";
import { restartsOf, type Verdict, verdictOf } from "./verdict.ts";
import { watchPods } from "./watch.ts";

/** How often it is asked why there is no pod yet. */
const LOOK_EVERY_MS = 500;

/** Makes or adopts the service, then waits until it answers or is beyond hope. `patienceMs` is how long the cluster may struggle on its own. */
export async function deploy(cluster: Cluster, spec: Spec, tools: Tools & { patienceMs: number }, call: DeployCall): Promise<Deployment> {
  const { clock } = cluster;
  const { signal } = call;
  const began = clock.monotonic();
  const { adopted } = await createOrAdopt(cluster, spec, tools, call);
  try {
    signal.throwIfAborted();
    const { address, startedOn } = await alive(cluster, spec, { adopted, patienceMs: tools.patienceMs, onPull: call.onPull }, signal);
    const phases = { create: startedOn - began, boot: clock.monotonic() - startedOn };
    tools.log.debug({ service: spec.service, adopted, phases }, "Ready.");
    return { ...(address ? { address } : {}), phases };
  } catch (error) {
    await destroy(cluster, spec.service).catch((err: unknown) =>
      tools.log.warn({ service: spec.service, err }, "Could not remove what is left of a failed start."),
    );
    throw error;
  }
}

/** What is known of a start before it is watched. */
type Start = { adopted: boolean; patienceMs: number; onPull: DeployCall["onPull"] };
type Alive = { address: Deployment["address"]; startedOn: number };

/** Resolves when the service is ready, rejects as soon as that is hopeless; whichever loses is called off. */
async function alive(cluster: Cluster, spec: Spec, start: Start, caller: AbortSignal): Promise<Alive> {
  const over = new AbortController();
  const signal = AbortSignal.any([caller, over.signal]);
  const starts = Promise.withResolvers<{ pod: V1Pod; startedOn: number }>();
  try {
    return await Promise.race([
      failure(cluster, spec, { ...start, started: starts.resolve }, signal),
      starts.promise.then((found) => ready(cluster, spec, found, signal)),
    ]);
  } finally {
    over.abort(new Error("The start is decided."));
  }
}

async function ready(cluster: Cluster, spec: Spec, { pod, startedOn }: { pod: V1Pod; startedOn: number }, signal: AbortSignal): Promise<Alive> {
  const { clock } = cluster;
  const address = addressOf(cluster, spec.service, spec.port, pod);
  if (address) await awaitReady(address, "accepted", { clock, signal });
  else await clock.sleep(spec.graceMs, signal);
  return { address, startedOn };
}

type Watched = Start & { started(found: { pod: V1Pod; startedOn: number }): void };

/** Follows the pod, tells when it has started, and rejects with what went wrong; never resolves. */
async function failure(cluster: Cluster, spec: Spec, { adopted, patienceMs, onPull, started }: Watched, signal: AbortSignal): Promise<never> {
  const { clock } = cluster;
  const trouble = (error: unknown) => {
    if (error instanceof Fault && error.code === "ENGINE_ACTION_DENIED") throw error;
  };
  let pod: V1Pod | undefined;
  let restarts: number | undefined;
  let struggle: { since: number; first: Extract<Verdict, { is: "struggling" }> } | undefined;
  const ask = async (): Promise<never> => {
    for (;;) {
      await clock.sleep(LOOK_EVERY_MS, signal);
      if (struggle && clock.monotonic() - struggle.since > patienceMs)
        throw new Fault(struggle.first.code, `${spec.service}: ${struggle.first.says}`);
      // An image may be long on its way, which the cluster does not count for us.
      if (pod && verdictOf(pod).is === "pending") onPull?.({ done: 0, total: 0 });
      if (!pod) await whyNoPod(cluster, spec.service, signal);
    }
  };
  const follow = async (): Promise<never> => {
    for await (const { pods } of watchPods(cluster, selectService(spec.service), signal, trouble)) {
      pod = currentPod(ofGeneration(pods.values(), spec));
      if (!pod) continue;
      const verdict = verdictOf(pod);
      // What it did before it was adopted is not this start's.
      restarts ??= adopted ? restartsOf(pod) : 0;
      if (verdict.is === "ended" || restartsOf(pod) > restarts) throw await crashed(cluster, spec, pod, signal);
      if (verdict.is === "failing") throw new Fault(verdict.code, `${spec.service}: ${verdict.says}`);
      if (verdict.is === "struggling")
        struggle = { since: struggle?.since ?? clock.monotonic(), first: verdict.vague && struggle ? struggle.first : verdict };
      else struggle = undefined;
      // Within the cluster its name leads to it once it is ready; asked for earlier, the name may be remembered as one of nobody.
      if (verdict.is === "running" && (!cluster.inside || spec.port === undefined || verdict.ready)) started({ pod, startedOn: clock.monotonic() });
    }
    throw signal.reason;
  };
  return Promise.race([ask(), follow()]);
}

/** A pod of an older generation may still be on its way out. */
function ofGeneration(pods: Iterable<V1Pod>, spec: Spec): V1Pod[] {
  return [...pods].filter(({ metadata }) => !metadata?.deletionTimestamp && readLabels(metadata)?.generation === spec.labels.generation);
}

/** A quota or a policy stops the Deployment's controller, which says so in a condition. Faults: NO_CAPACITY, SPEC_REFUSED, CONTAINER_CRASHED. */
async function whyNoPod(cluster: Cluster, service: string, signal: AbortSignal): Promise<void> {
  const deployment = await find(cluster, "deployments", service, signal);
  if (!deployment || deployment.metadata?.deletionTimestamp) throw new Fault("CONTAINER_CRASHED", `${service} was removed before it was ready.`);
  const failed = deployment.status?.conditions?.find(({ type, status }) => type === "ReplicaFailure" && status === "True");
  if (failed) throw admissionFault(service, failed.message ?? failed.reason ?? "");
}
