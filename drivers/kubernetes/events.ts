import type { Log } from "../../lib/log.ts";
import type { Call, DriverEvent } from "../driver.ts";
import type { KubernetesApi } from "./cluster.ts";
import { readLabels, SELECT_OURS, serviceOf } from "./labels.ts";
import { podStateOf } from "./pod-state.ts";
import { watchPods } from "./watch.ts";

/**
 * An instance is a pod, by its uid. Its address may be another pod's once it has gone, or is on its way out; the same pod keeps it while the cluster starts its
 * container again. Ends only when the signal aborts.
 */
export async function* events(cluster: KubernetesApi, log: Log, { signal }: Call): AsyncGenerator<DriverEvent> {
  // Its loss and its return are told once each, however often it is tried in between.
  let lost = false;
  const trouble = (error: unknown) => {
    const reason = error instanceof Error ? error.message : String(error);
    log[lost ? "debug" : "warn"]({ reason }, "The cluster's events broke off; watching again.");
    lost = true;
  };
  for await (const { pods, changed, broken } of watchPods(cluster, SELECT_OURS, signal, trouble)) {
    if (broken) {
      yield { kind: "disconnected" };
      continue;
    }
    if (lost) log.info({}, "The cluster's events go on.");
    if (lost || !changed) yield { kind: "connected" };
    lost = false;
    const service = serviceOf(changed?.metadata);
    const labels = readLabels(changed?.metadata);
    if (service === undefined || !labels) continue;
    const instance = changed?.metadata?.uid;
    const over = changed?.metadata?.deletionTimestamp !== undefined || !pods.has(instance ?? "") || (changed && podStateOf(changed).is === "ended");
    yield { kind: "changed", service, container: labels.container, ...(over ? { ended: { instance } } : {}) };
  }
}
