import type { V1Deployment, V1ObjectMeta, V1OwnerReference, V1Pod, V1Secret, V1Service } from "@kubernetes/client-node";
import { type KubernetesApi, type Resource, resourceName, RESOURCES, REVIEWS, type RIGHTS } from "./cluster.ts";
import { readLabels, serviceOf } from "./definition.ts";
import { answered } from "./faults.ts";

/** As the API sends them: times are text. */
type Objects = { deployments: V1Deployment; services: V1Service; secrets: V1Secret; pods: V1Pod };
/** Of any resource. */
export type KubernetesObject = { metadata?: V1ObjectMeta };
/** What the driver creates itself. */
export type OwnResource = "deployments" | "services" | "secrets";

/** All pages of a list show the same moment. */
const PAGE = "500";

export async function find<R extends OwnResource>(
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

/** The created object. Undefined if the name is taken. Without a signal, because the cluster may complete an aborted call. */
export async function create(cluster: KubernetesApi, resource: OwnResource, object: Objects[OwnResource]): Promise<KubernetesObject | undefined> {
  try {
    return await cluster.call<KubernetesObject>({ doing: `Creating ${resource} ${object.metadata?.name}`, verb: "create", resource, body: object });
  } catch (error) {
    if (answered(error, 409)) return undefined;
    throw error;
  }
}

/**
 * Server-side apply: creates the object, or changes what differs. Refused (SPEC_REFUSED) if another client has set one of its fields.
 * https://kubernetes.io/docs/reference/using-api/server-side-apply/
 */
export async function apply(cluster: KubernetesApi, resource: OwnResource, object: Objects[OwnResource]): Promise<void> {
  const name = object.metadata?.name ?? "";
  await cluster.call({ doing: `Applying ${resource} ${name}`, verb: "apply", resource, name, body: object });
}

/** Makes the cluster remove the object together with its owner. Applies that one field, under the object's uid: another one of its name is left alone. */
export async function setOwner(
  cluster: KubernetesApi,
  resource: OwnResource,
  meta: V1ObjectMeta | undefined,
  owner: V1OwnerReference,
): Promise<void> {
  const { name = "", uid } = meta ?? {};
  const { apiVersion, kind } = RESOURCES[resource];
  const body = { apiVersion, kind, metadata: { name, uid, ownerReferences: [owner] } };
  await cluster.call({ doing: `Setting the owner of ${resource} ${name}`, verb: "apply", resource, name, body });
}

/** Removes all objects of a selector; none is no fault. They go at once: what they own is the caller's to remove. */
export async function discardAll(
  cluster: KubernetesApi,
  resource: Exclude<Resource, "podmetrics">,
  labelSelector: string,
  signal: AbortSignal | undefined,
): Promise<void> {
  const body = { kind: "DeleteOptions", apiVersion: "v1", propagationPolicy: "Background" };
  await cluster.call({ doing: `Removing ${resource}`, verb: "deletecollection", resource, query: { labelSelector }, body, signal });
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

/** Which of these rights berth's account lacks, such as `create deployments`, as the cluster reports them. Faults: those of a call. */
export async function deniedRights(cluster: KubernetesApi, needed: typeof RIGHTS, signal: AbortSignal): Promise<string[]> {
  const rights = needed.flatMap(({ resource, part, verbs }) => verbs.map((verb) => ({ resource, part, verb })));
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
