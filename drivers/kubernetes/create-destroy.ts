import type { V1Deployment, V1OwnerReference, V1Pod } from "@kubernetes/client-node";
import { createBackoff } from "../../lib/backoff.ts";
import { withTimeout } from "../../lib/deadline.ts";
import { Fault } from "../../lib/fault.ts";
import type { Log } from "../../lib/log.ts";
import type { Call, Registry, Spec } from "../driver.ts";
import { refuseForeignOwner } from "../labels.ts";
import type { KubernetesApi } from "./cluster.ts";
import { definition, type KubernetesDefinition, NAMES, ownerOf, readLabels, readPort, selectService, STOP_GRACE_S } from "./definition.ts";
import { watchPods } from "./events.ts";
import { apply, discard, find, isOf, listAll } from "./objects.ts";
import { currentPod, podStateOf } from "./observe.ts";
import { type DockerAuth, pullWith } from "./pull-secret.ts";
import type { PodSecurity } from "./security.ts";

export type KubernetesTools = { log: Log; registry: Registry | undefined; registryHosts: readonly string[]; auth: DockerAuth };

/** How often another process may take the name first. */
const ATTEMPTS = 5;
const NAME_CONFLICT = { kind: "object", where: " in the namespace", todo: "Remove that first." };

/** Creates all objects of a service, or adopts them. Removes those of another generation, or of an ended container, first. */
export async function createOrAdopt(
  cluster: KubernetesApi,
  spec: Spec,
  security: PodSecurity,
  tools: KubernetesTools,
  call: Call,
): Promise<{ adopted: boolean }> {
  const { service } = spec;
  const objects = definition(spec, await pullWith(spec.image, tools.auth, tools.registry, call), security);
  for (let attempt = 1; ; attempt++) {
    call.signal.throwIfAborted();
    const holder = await find(cluster, "deployments", service, call.signal);
    if (!holder) break;
    refuseForeignOwner(readLabels(holder.metadata), spec, NAME_CONFLICT);
    const pods = await listAll(cluster, "pods", selectService(service), call.signal);
    if (isAdoptable(holder, currentPod(pods.items), spec)) {
      // Its Deployment stays unchanged, so that nothing restarts. A user may have removed its Service.
      await applyIf(cluster, "services", objects.service(ownerOf(holder)));
      return { adopted: true };
    }
    if (attempt === ATTEMPTS) throw new Fault("ENGINE_FAILED", `Replacing ${service}: another process keeps creating it again.`);
    tools.log.info({ service, generation: readLabels(holder.metadata)?.generation }, "replacing deployment");
    await destroy(cluster, service, call.signal);
  }
  await make(cluster, spec, objects, call.signal);
  return { adopted: false };
}

/**
 * The objects that pods need come before the Deployment, which becomes their owner afterwards. If berth dies in between, nothing runs, and the next deploy
 * or destroy of that name removes the rest.
 */
async function make(cluster: KubernetesApi, spec: Spec, objects: KubernetesDefinition, signal: AbortSignal): Promise<void> {
  const needs = (owner?: V1OwnerReference) =>
    [
      ["secrets", objects.variables(owner)],
      ["secrets", objects.pull(owner)],
      ["services", objects.service(owner)],
    ] as const;
  await Promise.all(
    needs().map(async ([resource, object]) => {
      const holder = object && (await find(cluster, resource, object.metadata?.name ?? "", signal));
      if (holder) refuseForeignOwner(readLabels(holder.metadata), spec, NAME_CONFLICT);
    }),
  );
  try {
    await Promise.all(needs().map(([resource, object]) => applyIf(cluster, resource, object)));
    signal.throwIfAborted();
    const owner = ownerOf(await apply(cluster, "deployments", objects.deployment()));
    await Promise.all(needs(owner).map(([resource, object]) => applyIf(cluster, resource, object)));
  } catch (error) {
    await destroy(cluster, spec.service).catch(() => {});
    throw error;
  }
}

async function applyIf(cluster: KubernetesApi, resource: "services" | "secrets", object: Parameters<typeof apply>[2] | undefined): Promise<void> {
  if (object) await apply(cluster, resource, object);
}

/** The same definition, starting or running. */
function isAdoptable({ metadata, spec: current }: V1Deployment, pod: V1Pod | undefined, spec: Spec): boolean {
  if (metadata?.deletionTimestamp || current?.replicas !== 1) return false;
  if (readLabels(metadata)?.generation !== spec.labels.generation || readPort(metadata) !== spec.port) return false;
  const state = pod && podStateOf(pod).is;
  return state !== "ended" && state !== "failing";
}

/** After the grace time of the pod, its node needs a moment to report the end. A node that is down never does. */
const GONE_MS = (STOP_GRACE_S + 50) * 1_000;
const POLL_MS = { first: 25, longest: 1_000 };

/**
 * Removes all objects of a service and returns when its pods are gone. Without a signal it cannot be aborted: it cleans up after a failure. Faults: ENGINE_UNREACHABLE, ENGINE_FAILED, ENGINE_ACTION_DENIED.
 */
export async function destroy(cluster: KubernetesApi, service: string, signal?: AbortSignal): Promise<void> {
  await discard(cluster, "deployments", NAMES.deployment(service), service, signal);
  await Promise.all([
    discard(cluster, "services", NAMES.service(service), service, signal),
    discard(cluster, "secrets", NAMES.variables(service), service, signal),
    discard(cluster, "secrets", NAMES.pull(service), service, signal),
  ]);
  const overdue = () =>
    new Fault("ENGINE_FAILED", `Removing ${service}: its pod has not ended within ${GONE_MS / 1_000} s. Is its node down? berth retries.`);
  await withTimeout({ clock: cluster.clock, ms: GONE_MS, overdue, signal }, (own) => waitUntilGone(cluster, service, own));
}

async function waitUntilGone(cluster: KubernetesApi, service: string, signal: AbortSignal): Promise<void> {
  const onFailure = (error: unknown) => {
    if (error instanceof Fault && error.code === "ENGINE_ACTION_DENIED") throw error;
  };
  for await (const { pods } of watchPods(cluster, selectService(service), signal, onFailure)) if (pods.size === 0) break;
  // The cluster keeps the Deployment until it has noticed that its pods are gone.
  const delays = createBackoff(POLL_MS.first, POLL_MS.longest);
  for (let remains = true; remains;) {
    const deployment = await find(cluster, "deployments", service, signal);
    // Without a deletion timestamp it is a new one.
    remains = deployment !== undefined && isOf(deployment.metadata, service) && deployment.metadata?.deletionTimestamp !== undefined;
    if (remains) await cluster.clock.sleep(delays.next(), signal);
  }
}
