import type { KubernetesApi } from "./cluster.ts";
import { REVIEWS, type Resource, RESOURCES } from "./resources.ts";

/** What the driver does in its namespace, as RBAC names it: `conf/kubernetes/rbac.yaml` allows these. */
export const RIGHTS: readonly { resource: Resource; part?: "log"; verbs: readonly string[] }[] = [
  { resource: "deployments", verbs: ["get", "list", "create", "patch", "delete"] },
  { resource: "services", verbs: ["get", "create", "patch", "delete"] },
  { resource: "secrets", verbs: ["get", "create", "patch", "delete"] },
  { resource: "pods", verbs: ["list", "watch"] },
  { resource: "pods", part: "log", verbs: ["get"] },
];

/** Those that our account does not have, such as `create deployments`, by the cluster's own word. Faults: those of a call. */
export async function deniedRights(cluster: KubernetesApi, signal: AbortSignal): Promise<string[]> {
  const asked = RIGHTS.flatMap(({ resource, part, verbs }) => verbs.map((verb) => ({ resource, part, verb })));
  const { apiVersion, kind } = REVIEWS.selfsubjectaccessreviews;
  const answers = await Promise.all(
    asked.map(async ({ resource, part, verb }) => {
      const subresource = part === undefined ? {} : { subresource: part };
      const resourceAttributes = { namespace: cluster.namespace, verb, group: RESOURCES[resource].group, resource, ...subresource };
      const body = { apiVersion, kind, metadata: {}, spec: { resourceAttributes } };
      const doing = `Asking whether berth may ${verb} ${resource}`;
      const said = await cluster.ask<{ status?: { allowed?: boolean } }>({
        doing,
        verb: "create",
        resource: "selfsubjectaccessreviews",
        body,
        signal,
      });
      return said.status?.allowed === true ? [] : [`${verb} ${resource}${part === undefined ? "" : `/${part}`}`];
    }),
  );
  return answers.flat();
}
