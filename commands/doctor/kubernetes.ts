import { openCluster } from "../../drivers/kubernetes/cluster.ts";
import type { Resource } from "../../drivers/kubernetes/resources.ts";
import { Fault } from "../../fault.ts";
import type { Chain } from "./chain.ts";
import { type Finding, type Problem, wrong } from "./finding.ts";

/** What the driver lists; conf/kubernetes/rbac.yaml lets it. */
const LISTED: readonly Resource[] = ["deployments", "pods"];

/** A Kubernetes cluster: which of the lists that the driver asks for are denied. What it makes shows with a container's start. */
export async function checkKubernetes({ settings, clock }: Chain, signal: AbortSignal): Promise<Finding> {
  const cluster = openCluster(settings.kubernetes, clock);
  const problems: Problem[] = [];
  for (const resource of LISTED) {
    try {
      await cluster.ask({ doing: `Listing ${resource}`, verb: "list", resource, query: { limit: "1" }, signal });
    } catch (error) {
      if (!(error instanceof Fault) || error.code !== "ENGINE_ACTION_DENIED") throw error;
      problems.push(wrong(error.message, "Give berth's account the role of conf/kubernetes/rbac.yaml."));
    }
  }
  return { says: `kubernetes, namespace ${cluster.namespace} at ${cluster.at}; what makes services is seen with a container's start`, problems };
}
