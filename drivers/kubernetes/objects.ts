import type { V1Deployment, V1ObjectMeta, V1Pod, V1Secret, V1Service } from "@kubernetes/client-node";
import { type KubernetesApi, type Resource, resourceName, RESOURCES, REVIEWS, RIGHTS } from "./cluster.ts";
import { readLabels, serviceOf } from "./definition.ts";
import { answered } from "./faults.ts";

/** As the API sends them: times are text. */
type Objects = { deployments: V1Deployment; services: V1Service; secrets: V1Secret; pods: V1Pod };
type Applied = Exclude<Resource, "pods" | "podmetrics">;

/** All pages of a list show the same moment. */
const PAGE = "500";

export async function find<R extends Applied>(
  cluster: KubernetesApi,
  resource: R,
  name: string,
  signal: AbortSignal | undefined,
): Promise<Objects[R] | undefined> {
  try {
    return await cluster.call<Objects[R]>({ doing: `Inspecting ${name}`, verb: "get", resource, name, signal });
  } catch (error) {
    if (answered(error, 404)) return undefined;
    throw error;
  }
}

/**
 * Server-side apply: creates the object, or changes what differs. Refused (SPEC_REFUSED) if another client has set one of its fields.
 * Without a signal, because the cluster may complete an aborted call. https://kubernetes.io/docs/reference/using-api/server-side-apply/
 */
export function apply<R extends Applied>(cluster: KubernetesApi, resource: R, object: Objects[R] & object): Promise<Objects[R]> {
  const name = object.metadata?.name ?? "";
  return cluster.call<Objects[R]>({ doing: `Applying ${resource} ${name}`, verb: "apply", resource, name, body: object });
}

/** Removes the object of a service if it is berth's. Succeeds if it is gone or has been replaced. */
export async function discard(
  cluster: KubernetesApi,
  resource: Applied,
  name: string,
  service: string,
  signal: AbortSignal | undefined,
): Promise<void> {
  const object = await find(cluster, resource, name, signal);
  if (!object || !isOf(object.metadata, service)) return;
  // A Deployment remains visible until its pods are gone. Other objects go at once, so that their names are free.
  const propagationPolicy = resource === "deployments" ? "Foreground" : "Background";
  const body = { kind: "DeleteOptions", apiVersion: "v1", propagationPolicy, preconditions: { uid: object.metadata?.uid } };
  try {
    await cluster.call({ doing: `Removing ${resource} ${name}`, verb: "delete", resource, name, body, signal });
  } catch (error) {
    if (!answered(error, 404, 409)) throw error;
  }
}

export function isOf(meta: V1ObjectMeta | undefined, service: string): boolean {
  return readLabels(meta) !== undefined && serviceOf(meta) === service;
}

/** All objects of a selector, and the version at which a watch continues. */
export async function listAll<R extends "deployments" | "pods">(
  cluster: KubernetesApi,
  resource: R,
  labelSelector: string,
  signal: AbortSignal | undefined,
): Promise<{ items: Objects[R][]; version: string }> {
  const items: Objects[R][] = [];
  for (let next = ""; ;) {
    const query = { labelSelector, limit: PAGE, ...(next === "" ? {} : { continue: next }) };
    const page = await cluster.call<{ items: Objects[R][]; metadata: { resourceVersion?: string; continue?: string } }>({
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

/** The rights that berth's account lacks, such as `create deployments`, as the cluster reports them. Faults: those of a call. */
export async function deniedRights(cluster: KubernetesApi, signal: AbortSignal): Promise<string[]> {
  const rights = RIGHTS.flatMap(({ resource, part, verbs }) => verbs.map((verb) => ({ resource, part, verb })));
  const { apiVersion, kind } = REVIEWS.selfsubjectaccessreviews;
  const denied = await Promise.all(
    rights.map(async ({ resource, part, verb }) => {
      const subresource = part === undefined ? {} : { subresource: part };
      const resourceAttributes = {
        namespace: cluster.namespace,
        verb,
        group: RESOURCES[resource].group,
        resource: resourceName(resource),
        ...subresource,
      };
      const review = await cluster.call<{ status?: { allowed?: boolean } }>({
        doing: `Checking whether berth may ${verb} ${resource}`,
        verb: "create",
        resource: "selfsubjectaccessreviews",
        body: { apiVersion, kind, metadata: {}, spec: { resourceAttributes } },
        signal,
      });
      return review.status?.allowed === true ? [] : [`${verb} ${resource}${part === undefined ? "" : `/${part}`}`];
    }),
  );
  return denied.flat();
}
