/** The kinds of objects that the driver touches, and where the API has them. What else there is in a cluster, it never asks for. */
export const RESOURCES = {
  deployments: { group: "apps", apiVersion: "apps/v1", kind: "Deployment" },
  services: { group: "", apiVersion: "v1", kind: "Service" },
  secrets: { group: "", apiVersion: "v1", kind: "Secret" },
  pods: { group: "", apiVersion: "v1", kind: "Pod" },
} as const;

export type Resource = keyof typeof RESOURCES;

/** The API's own verbs, as RBAC has them; `apply` is a patch, which also wants the right to create. */
export const VERBS = {
  get: "GET",
  list: "GET",
  watch: "GET",
  apply: "PATCH",
  delete: "DELETE",
} as const;

export type Verb = keyof typeof VERBS;

/** The path of a collection, or of one object in it; `part` is a subresource. */
export function pathOf(namespace: string, resource: Resource, name?: string, part?: string): string {
  const { apiVersion } = RESOURCES[resource];
  const root = apiVersion.includes("/") ? `/apis/${apiVersion}` : `/api/${apiVersion}`;
  return [root, "namespaces", namespace, resource, name, part]
    .filter((step) => step !== undefined)
    .map(stepOf)
    .join("/");
}

/** The first holds slashes of its own. */
function stepOf(step: string, at: number): string {
  return at === 0 ? step : encodeURIComponent(step);
}
