import type { V1Deployment, V1OwnerReference, V1Pod } from "@kubernetes/client-node";
import { Fault } from "../../lib/fault.ts";
import type { Log } from "../../lib/log.ts";
import type { Call, Registry, Spec } from "../driver.ts";
import type { KubernetesApi } from "./cluster.ts";
import { definition, type KubernetesDefinition, ownerOf } from "./definition.ts";
import { destroy } from "./destroy.ts";
import { readLabels, readPort, selectService } from "./labels.ts";
import { apply, find, listAll, refuseForeignOwner } from "./objects.ts";
import { currentPod, podStateOf } from "./observe.ts";
import { type DockerAuth, pullWith } from "./pull-secret.ts";

export type KubernetesTools = { log: Log; registry: Registry | undefined; registryHosts: readonly string[]; auth: DockerAuth };

/** Times that somebody else may get the name first. */
const ATTEMPTS = 5;

/** Makes all of a service, or finds what is as good; what is left of another generation, or has ended, goes first. */
export async function createOrAdopt(cluster: KubernetesApi, spec: Spec, tools: KubernetesTools, call: Call): Promise<{ adopted: boolean }> {
  const { service } = spec;
  const objects = definition(spec, await pullWith(spec.image, tools.auth, tools.registry, call));
  for (let attempt = 1; ; attempt++) {
    call.signal.throwIfAborted();
    const holder = await find(cluster, "deployments", service, call.signal);
    if (!holder) break;
    refuseForeignOwner(holder.metadata, service, spec.labels);
    const pods = await listAll(cluster, "pods", selectService(service), call.signal);
    if (asGood(holder, currentPod(pods.items), spec)) {
      // Its Deployment stays as it is, so that nothing is started anew; its name may have been removed by hand.
      await applyIf(cluster, "services", objects.service(ownerOf(holder)));
      return { adopted: true };
    }
    if (attempt === ATTEMPTS) throw new Fault("ENGINE_FAILED", `Replacing ${service}: somebody else keeps making it anew.`);
    tools.log.info({ service, generation: readLabels(holder.metadata)?.generation }, "Replacing the service's Deployment.");
    await destroy(cluster, service, call.signal);
  }
  await make(cluster, spec, objects, call.signal);
  return { adopted: false };
}

/**
 * What pods need comes before the Deployment, and is given to it afterwards: a berth that dies in between leaves nothing that
 * runs, and what it leaves goes with the next deploy or destroy of that name.
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
      const found = object && (await find(cluster, resource, object.metadata?.name ?? "", signal));
      if (found) refuseForeignOwner(found.metadata, spec.service, spec.labels);
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

/** The same definition, on its way up or there. */
function asGood({ metadata, spec: found }: V1Deployment, pod: V1Pod | undefined, spec: Spec): boolean {
  if (metadata?.deletionTimestamp || found?.replicas !== 1) return false;
  if (readLabels(metadata)?.generation !== spec.labels.generation || readPort(metadata) !== spec.port) return false;
  const verdict = pod && podStateOf(pod).is;
  return verdict !== "ended" && verdict !== "failing";
}
