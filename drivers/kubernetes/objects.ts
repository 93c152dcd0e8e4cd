import type { V1Deployment, V1ObjectMeta, V1Pod, V1Secret, V1Service } from "@kubernetes/client-node";
import { Fault } from "../../lib/fault.ts";
import type { KubernetesApi } from "./cluster.ts";
import { answered } from "./faults.ts";
import { readLabels, serviceOf } from "./labels.ts";
import type { Resource } from "./resources.ts";
import { foreignOwnerOf } from "../labels.ts";

/** As the API sends them: times are text here, which nothing in this folder reads as more than that. */
export type Objects = { deployments: V1Deployment; services: V1Service; secrets: V1Secret; pods: V1Pod };
type Applied = Exclude<Resource, "pods">;

/** A page of a list; the whole of one comes from one moment, however many pages it has. */
const PAGE = "500";

export async function find<R extends Applied>(
  cluster: KubernetesApi,
  resource: R,
  name: string,
  signal: AbortSignal | undefined,
): Promise<Objects[R] | undefined> {
  try {
    return await cluster.ask<Objects[R]>({ doing: `Inspecting ${name}`, verb: "get", resource, name, signal });
  } catch (error) {
    if (answered(error, 404)) return undefined;
    throw error;
  }
}

/**
 * Server-side apply: made where it is missing, changed where it differs, and refused (SPEC_REFUSED) where somebody else has set one of its fields.
 * Not cut off by a signal: a cluster that no longer hears us may still do it. https://kubernetes.io/docs/reference/using-api/server-side-apply/
 */
export function apply<R extends Applied>(cluster: KubernetesApi, resource: R, object: Objects[R] & object): Promise<Objects[R]> {
  const name = object.metadata?.name ?? "";
  return cluster.ask<Objects[R]>({ doing: `Applying ${resource} ${name}`, verb: "apply", resource, name, body: object });
}

/** Removes the object of a service if it is berth's; what is gone already, or is another one by now, is fine. */
export async function discard(
  cluster: KubernetesApi,
  resource: Applied,
  name: string,
  service: string,
  signal: AbortSignal | undefined,
): Promise<void> {
  const found = await find(cluster, resource, name, signal);
  if (!found || !isOf(found.metadata, service)) return;
  // A Deployment stays to be seen until its pods are gone; anything else is gone at once, so that its name is free.
  const propagationPolicy = resource === "deployments" ? "Foreground" : "Background";
  const body = { kind: "DeleteOptions", apiVersion: "v1", propagationPolicy, preconditions: { uid: found.metadata?.uid } };
  try {
    await cluster.ask({ doing: `Removing ${resource} ${name}`, verb: "delete", resource, name, body, signal });
  } catch (error) {
    if (!answered(error, 404, 409)) throw error;
  }
}

export function isOf(meta: V1ObjectMeta | undefined, service: string): boolean {
  return readLabels(meta) !== undefined && serviceOf(meta) === service;
}

/** Everything that a selector finds, and the version from which a watch misses nothing. */
export async function listAll<R extends "deployments" | "pods">(
  cluster: KubernetesApi,
  resource: R,
  labelSelector: string,
  signal: AbortSignal | undefined,
): Promise<{ items: Objects[R][]; version: string }> {
  const items: Objects[R][] = [];
  for (let next = ""; ;) {
    const query = { labelSelector, limit: PAGE, ...(next === "" ? {} : { continue: next }) };
    const page = await cluster.ask<{ items: Objects[R][]; metadata: { resourceVersion?: string; continue?: string } }>({
      doing: `Listing ${resource}`,
      verb: "list",
      resource,
      query,
      signal,
    });
    items.push(...page.items);
    next = page.metadata.continue ?? "";
    if (next === "") return { items, version: page.metadata.resourceVersion ?? "" };
  }
}

export function refuseForeignOwner(found: V1ObjectMeta | undefined, service: string, claim: { store: string; container: string }): void {
  const owner = foreignOwnerOf(readLabels(found), claim);
  if (owner !== undefined) throw new Fault("SPEC_REFUSED", `The name ${service} is taken in the namespace by ${owner}; remove that first.`);
}
