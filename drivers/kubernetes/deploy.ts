import type { V1Pod } from "@kubernetes/client-node";
import type { DeployCall, Deployment, Spec } from "../driver.ts";
import { awaitReady } from "../ready.ts";
import type { KubernetesApi } from "./cluster.ts";
import { createOrAdopt, type KubernetesTools } from "./create.ts";
import { destroy } from "./destroy.ts";
import { addressOf } from "./observe.ts";
import { type Start, watchStart } from "./watch-start.ts";

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
async function alive(cluster: KubernetesApi, spec: Spec, start: Omit<Start, "started">, call: DeployCall): Promise<Alive> {
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
