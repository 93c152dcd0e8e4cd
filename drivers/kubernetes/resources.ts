/** The only kinds of objects that the driver uses. */
export const RESOURCES = {
  deployments: { group: "apps", apiVersion: "apps/v1", kind: "Deployment" },
  services: { group: "", apiVersion: "v1", kind: "Service" },
  secrets: { group: "", apiVersion: "v1", kind: "Secret" },
  pods: { group: "", apiVersion: "v1", kind: "Pod" },
  /** Of the metrics server, if the cluster has one. Its resource is `pods` too. */
  podmetrics: { group: "metrics.k8s.io", apiVersion: "metrics.k8s.io/v1beta1", kind: "PodMetrics" },
} as const;

export type Resource = keyof typeof RESOURCES;

/** Reviews answer what an account may do. Creating one is the query; the cluster keeps none. */
export const REVIEWS = {
  selfsubjectaccessreviews: { apiVersion: "authorization.k8s.io/v1", kind: "SelfSubjectAccessReview" },
} as const;

export type ReviewResource = keyof typeof REVIEWS;

/** The API's verbs, as RBAC has them. `apply` is a patch, which also needs the right to create. */
export const VERBS = {
  get: "GET",
  list: "GET",
  watch: "GET",
  create: "POST",
  apply: "PATCH",
  delete: "DELETE",
} as const;

export type KubernetesVerb = keyof typeof VERBS;

/** The rights that the driver needs in its namespace, as RBAC names them. `conf/kubernetes/rbac.yaml` grants these. */
export const RIGHTS: readonly { resource: Resource; part?: "log"; verbs: readonly string[] }[] = [
  { resource: "deployments", verbs: ["get", "list", "create", "patch", "delete"] },
  { resource: "services", verbs: ["get", "create", "patch", "delete"] },
  { resource: "secrets", verbs: ["get", "create", "patch", "delete"] },
  { resource: "pods", verbs: ["list", "watch"] },
  { resource: "pods", part: "log", verbs: ["get"] },
  { resource: "podmetrics", verbs: ["list"] },
];

/** The resource's name in paths and rights. */
export function resourceName(resource: Resource | ReviewResource): string {
  return resource === "podmetrics" ? "pods" : resource;
}

/** The path of a collection, or of one object in it; `part` is a subresource. */
export function pathOf(namespace: string, resource: Resource | ReviewResource, name?: string, part?: string): string {
  const isReview = isIn(REVIEWS, resource);
  const { apiVersion } = isReview ? REVIEWS[resource] : RESOURCES[resource];
  const root = apiVersion.includes("/") ? `/apis/${apiVersion}` : `/api/${apiVersion}`;
  return [root, ...(isReview ? [] : ["namespaces", namespace]), resourceName(resource), name, part]
    .filter((step) => step !== undefined)
    .map(stepOf)
    .join("/");
}

function isIn<T extends object>(table: T, name: PropertyKey): name is keyof T {
  return Object.hasOwn(table, name);
}

/** The first step has slashes of its own. */
function stepOf(step: string, at: number): string {
  return at === 0 ? step : encodeURIComponent(step);
}
