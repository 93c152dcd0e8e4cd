import type { Log } from "../../lib/log.ts";
import type { Call, DriverEvent } from "../driver.ts";
import type { KubernetesApi } from "./cluster.ts";
import { readLabels, SELECT_OURS, serviceOf } from "./labels.ts";
import { podStateOf } from "./observe.ts";
import type { IncomingMessage } from "node:http";
import type { V1Pod } from "@kubernetes/client-node";
import { Fault } from "../../lib/fault.ts";
import { createBackoff } from "../../lib/backoff.ts";
import { jsonLines } from "../../lib/split-lines.ts";
import { answered, refusedFault, Refusal, unreachable } from "./faults.ts";
import { listAll } from "./objects.ts";

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

const RETRY_MS = { first: 250, longest: 10_000 };
/** A watch that lasted this long was a good one: the next failure starts again with the shortest delay. */
const SETTLED_MS = 10_000;
/** The server ends a watch after this, and it goes on where it was: no connection is trusted for ever. */
const WATCH_S = 240;
/** It may be late with that; later still, it is gone without a word. */
const LATE_MS = 30_000;
const DOING = "Watching pods";

/** The pods that there are, by uid. `changed` is the one that differs from before; without it they were all looked at anew, or the watch began again; or, with `broken`, it broke off. */
export type WatchedPods = { pods: ReadonlyMap<string, V1Pod>; changed?: V1Pod; broken?: true };

/** `OPENED` is ours: the server has granted the watch. */
type WatchLine = { type: "OPENED"; object?: undefined } | WatchEvent;
type WatchEvent = {
  type: "ADDED" | "MODIFIED" | "DELETED" | "BOOKMARK" | "ERROR";
  object: V1Pod & { code?: number; message?: string; reason?: string };
};

/**
 * The pods that a selector finds, as they change, until the signal aborts. A watch that breaks off goes on from the version that it had come to;
 * where the server has forgotten that one (410), they are listed again. `trouble` hears each failure, and ends it all by throwing.
 * https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes
 */
export async function* watchPods(
  cluster: KubernetesApi,
  selector: string,
  signal: AbortSignal,
  trouble: (error: unknown) => void,
): AsyncGenerator<WatchedPods> {
  const { clock } = cluster;
  const delays = createBackoff(RETRY_MS.first, RETRY_MS.longest);
  const pods = new Map<string, V1Pod>();
  let version: string | undefined;
  let broken = false;
  while (!signal.aborted) {
    const began = clock.monotonic();
    try {
      if (version === undefined) {
        const listed = await listAll(cluster, "pods", selector, signal);
        pods.clear();
        for (const pod of listed.items) pods.set(pod.metadata?.uid ?? "", pod);
        version = listed.version;
        broken = false;
        yield { pods };
      }
      for await (const { type, object } of watchFrom(cluster, selector, version, signal)) {
        if (type === "OPENED") {
          if (broken) yield { pods };
          broken = false;
          continue;
        }
        if (type === "ERROR") throw refused(cluster, object);
        version = object.metadata?.resourceVersion ?? version;
        if (type === "BOOKMARK") continue;
        if (type === "DELETED") pods.delete(object.metadata?.uid ?? "");
        else pods.set(object.metadata?.uid ?? "", object);
        yield { pods, changed: object };
      }
      // Its time was up; nothing was missed.
      if (clock.monotonic() - began > SETTLED_MS) {
        delays.reset();
        continue;
      }
    } catch (error) {
      if (signal.aborted) return;
      const isFirst = !broken;
      broken = true;
      // Gone: what happened since that version is no longer known.
      if (answered(error, 410)) version = undefined;
      else {
        trouble(error);
        if (isFirst) yield { pods, broken };
      }
      if (clock.monotonic() - began > SETTLED_MS) delays.reset();
    }
    await clock.sleep(delays.next(), signal).catch(() => {});
  }
}

/** What goes wrong once a watch was granted comes as a line of it. */
function refused({ namespace }: KubernetesApi, { code = 500, reason = "", message = "" }: WatchEvent["object"]): Fault {
  return refusedFault(new Refusal(code, reason, message), { doing: DOING, verb: "watch", resource: "pods", namespace });
}

async function* watchFrom(cluster: KubernetesApi, labelSelector: string, version: string, signal: AbortSignal): AsyncGenerator<WatchLine> {
  const query = { watch: "true", allowWatchBookmarks: "true", timeoutSeconds: String(WATCH_S), resourceVersion: version, labelSelector };
  const late = new AbortController();
  const cancel = cluster.clock.after(WATCH_S * 1_000 + LATE_MS, () =>
    late.abort(new Fault("ENGINE_UNREACHABLE", "Watching pods: the Kubernetes API fell silent.")),
  );
  let stream: IncomingMessage | undefined;
  try {
    const either = AbortSignal.any([signal, late.signal]);
    stream = await cluster.open({ doing: DOING, verb: "watch", resource: "pods", query, signal: either });
    yield { type: "OPENED" };
    yield* jsonLines<WatchEvent>(stream);
  } catch (error) {
    signal.throwIfAborted();
    throw late.signal.aborted ? late.signal.reason : error instanceof Fault ? error : unreachable(error, DOING, cluster.at);
  } finally {
    cancel();
    stream?.destroy();
  }
}
