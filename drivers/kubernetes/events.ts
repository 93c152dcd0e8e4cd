import type { Log } from "../../log.ts";
import type { Call, DriverEvent } from "../driver.ts";
import type { Cluster } from "./cluster.ts";
import { readLabels, SELECT_OURS, serviceOf } from "./labels.ts";
import { watchPods } from "./watch.ts";

/** Ends only when the signal aborts. */
export async function* events(cluster: Cluster, log: Log, { signal }: Call): AsyncGenerator<DriverEvent> {
  // Its loss and its return are told once each, however often it is tried in between.
  let lost = false;
  const trouble = (error: unknown) => {
    const reason = error instanceof Error ? error.message : String(error);
    log[lost ? "debug" : "warn"]({ reason }, "The cluster's events broke off; watching again.");
    lost = true;
  };
  for await (const { changed } of watchPods(cluster, SELECT_OURS, signal, trouble)) {
    if (lost) log.info({}, "The cluster's events go on.");
    if (lost || !changed) yield { kind: "connected" };
    lost = false;
    const service = serviceOf(changed?.metadata);
    const labels = readLabels(changed?.metadata);
    if (service !== undefined && labels) yield { kind: "changed", service, container: labels.container };
  }
}
