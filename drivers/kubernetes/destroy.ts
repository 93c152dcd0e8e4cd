import { Fault } from "../../lib/fault.ts";
import { createBackoff } from "../../lib/backoff.ts";
import { withTimeout } from "../../lib/deadline.ts";
import type { KubernetesApi } from "./cluster.ts";
import { find, discard, isOf } from "./objects.ts";
import { NAMES, selectService } from "./labels.ts";
import { STOP_GRACE_S } from "./definition.ts";
import { watchPods } from "./events.ts";

/** Beyond its own grace time, a pod's node needs a moment to tell; one that is down never does. */
const GONE_MS = (STOP_GRACE_S + 50) * 1_000;
const LOOK_MS = { first: 25, longest: 1_000 };

/**
 * Removes all of a service and returns when its pods are gone, so that what comes next meets nothing of it. Without a signal it
 * cannot be called off: it cleans up after a failure. Faults: ENGINE_UNREACHABLE, ENGINE_FAILED, ENGINE_ACTION_DENIED.
 */
export async function destroy(cluster: KubernetesApi, service: string, signal?: AbortSignal): Promise<void> {
  await discard(cluster, "deployments", NAMES.deployment(service), service, signal);
  await Promise.all([
    discard(cluster, "services", NAMES.service(service), service, signal),
    discard(cluster, "secrets", NAMES.variables(service), service, signal),
    discard(cluster, "secrets", NAMES.pull(service), service, signal),
  ]);
  const overdue = () =>
    new Fault("ENGINE_FAILED", `Removing ${service}: its pod has not ended within ${GONE_MS / 1_000} s. Is its node down? It is looked for again.`);
  await withTimeout({ clock: cluster.clock, ms: GONE_MS, overdue, signal }, (own) => gone(cluster, service, own));
}

async function gone(cluster: KubernetesApi, service: string, signal: AbortSignal): Promise<void> {
  const trouble = (error: unknown) => {
    if (error instanceof Fault && error.code === "ENGINE_ACTION_DENIED") throw error;
  };
  for await (const { pods } of watchPods(cluster, selectService(service), signal, trouble)) if (pods.size === 0) break;
  // It is kept until the cluster has noticed that there is nothing left of it.
  const delays = createBackoff(LOOK_MS.first, LOOK_MS.longest);
  for (let left = true; left;) {
    const found = await find(cluster, "deployments", service, signal);
    // One without the mark of its end is another's, who began anew meanwhile.
    left = found !== undefined && isOf(found.metadata, service) && found.metadata?.deletionTimestamp !== undefined;
    if (left) await cluster.clock.sleep(delays.next(), signal);
  }
}
