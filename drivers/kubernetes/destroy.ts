import { createBackoff } from "../../lib/backoff.ts";
import { withTimeout } from "../../lib/deadline.ts";
import { Fault } from "../../lib/fault.ts";
import type { KubernetesApi } from "./cluster.ts";
import { STOP_GRACE_S } from "./definition.ts";
import { watchPods } from "./events.ts";
import { NAMES, selectService } from "./labels.ts";
import { find, discard, isOf } from "./objects.ts";

/** After the grace time of the pod, its node needs a moment to report the end. A node that is down never does. */
const GONE_MS = (STOP_GRACE_S + 50) * 1_000;
const POLL_MS = { first: 25, longest: 1_000 };

/**
 * Removes all objects of a service and returns when its pods are gone. Without a signal it cannot be aborted: it cleans up after a failure. Faults: ENGINE_UNREACHABLE, ENGINE_FAILED, ENGINE_ACTION_DENIED.
 */
export async function destroy(cluster: KubernetesApi, service: string, signal?: AbortSignal): Promise<void> {
  await discard(cluster, "deployments", NAMES.deployment(service), service, signal);
  await Promise.all([
    discard(cluster, "services", NAMES.service(service), service, signal),
    discard(cluster, "secrets", NAMES.variables(service), service, signal),
    discard(cluster, "secrets", NAMES.pull(service), service, signal),
  ]);
  const overdue = () =>
    new Fault("ENGINE_FAILED", `Removing ${service}: its pod has not ended within ${GONE_MS / 1_000} s. Is its node down? berth retries.`);
  await withTimeout({ clock: cluster.clock, ms: GONE_MS, overdue, signal }, (own) => waitUntilGone(cluster, service, own));
}

async function waitUntilGone(cluster: KubernetesApi, service: string, signal: AbortSignal): Promise<void> {
  const onFailure = (error: unknown) => {
    if (error instanceof Fault && error.code === "ENGINE_ACTION_DENIED") throw error;
  };
  for await (const { pods } of watchPods(cluster, selectService(service), signal, onFailure)) if (pods.size === 0) break;
  // The cluster keeps the Deployment until it has noticed that its pods are gone.
  const delays = createBackoff(POLL_MS.first, POLL_MS.longest);
  for (let remains = true; remains;) {
    const deployment = await find(cluster, "deployments", service, signal);
    // Without a deletion timestamp it is a new one.
    remains = deployment !== undefined && isOf(deployment.metadata, service) && deployment.metadata?.deletionTimestamp !== undefined;
    if (remains) await cluster.clock.sleep(delays.next(), signal);
  }
}
