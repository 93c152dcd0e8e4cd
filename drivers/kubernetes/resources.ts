/** The kinds of objects that the driver touches, and where the API has them. What else there is in a cluster, it never asks for. */
export const RESOURCES = {
  deployments: { group: "apps", apiVersion: "apps/v1", kind: "Deployment" },
  services: { group: "", apiVersion: "v1", kind: "Service" },
  secrets: { group: "", apiVersion: "v1", kind: "Secret" },
  pods: { group: "", apiVersion: "v1", kind: "Pod" },
} as const;

export type Resource = keyof typeof RESOURCES;

/** What is asked by being made, in no namespace, and kept by nobody: what our account may do. */
export const REVIEWS = {
  selfsubjectaccessreviews: { apiVersion: "authorization.k8s.io/v1", kind: "SelfSubjectAccessReview" },
} as const;

export type ReviewResource = keyof typeof REVIEWS;

/** The API's own verbs, as RBAC has them; `apply` is a patch, which also wants the right to create. */
export const VERBS = {
  get: "GET",
  list: "GET",
  watch: "GET",
  create: "POST",
  apply: "PATCH",
  delete: "DELETE",
} as const;

export type KubernetesVerb = keyof typeof VERBS;

/** The path of a collection, or of one object in it; `part` is a subresource. */
export function pathOf(namespace: string, resource: Resource | ReviewResource, name?: string, part?: string): string {
  const isQuestion = isIn(REVIEWS, resource);
  const { apiVersion } = isQuestion ? REVIEWS[resource] : RESOURCES[resource];
  const root = apiVersion.includes("/") ? `/apis/${apiVersion}` : `/api/${apiVersion}`;
  return [root, ...(isQuestion ? [] : ["namespaces", namespace]), resource, name, part]
    .filter((step) => step !== undefined)
    .map(stepOf)
    .join("/");
}

function isIn<T extends object>(table: T, name: PropertyKey): name is keyof T {
  return Object.hasOwn(table, name);
}

/** The first holds slashes of its own. */
function stepOf(step: string, at: number): string {
  return at === 0 ? step : encodeURIComponent(step);
}
