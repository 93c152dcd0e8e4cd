import { openCluster } from "../../drivers/kubernetes/cluster.ts";
import { deniedRights } from "../../drivers/kubernetes/rights.ts";
import type { Chain } from "./check.ts";
import { type Finding, wrong } from "./finding.ts";

/** A Kubernetes cluster: which of the rights that the driver needs its account does not have. */
export async function checkKubernetes({ settings, clock }: Chain, signal: AbortSignal): Promise<Finding> {
  const cluster = openCluster(settings.kubernetes, clock);
  const denied = await deniedRights(cluster, signal);
  return {
    says: `kubernetes, namespace ${cluster.namespace} at ${cluster.at}, all rights`,
    problems: denied.map((right) =>
      wrong(`berth's account may not ${right} in the namespace ${cluster.namespace}.`, "Give it the role of conf/kubernetes/rbac.yaml."),
    ),
  };
}
