import type { IncomingMessage } from "node:http";
import type { V1Pod } from "@kubernetes/client-node";
import { createBackoff } from "../../lib/backoff.ts";
import { raceAbort } from "../../lib/deadline.ts";
import { Fault } from "../../lib/fault.ts";
import { jsonLines } from "../../lib/lines.ts";
import type { Log } from "../../lib/log.ts";
import type { Call, DriverEvent } from "../driver.ts";
import { reasonOf } from "../events.ts";
import type { KubernetesApi } from "./cluster.ts";
import { readLabels, SELECT_OURS, serviceOf } from "./definition.ts";
import { answered, Refusal, refusedFault, unreachable } from "./faults.ts";
import { listAll } from "./objects.ts";
import { podStateOf, restartsOf } from "./observe.ts";
import { hostOf, isHostWithdrawn } from "./pod-address.ts";

/**
 * An instance is a pod, by its uid. After the pod's deletion begins, its address may be another pod's. The pod keeps its address while the cluster restarts
 * its container.
 */
export async function* events(cluster: KubernetesApi, log: Log, { signal }: Call): AsyncGenerator<DriverEvent> {
  // Each loss and each return is logged once, whatever the number of attempts.
  let lost = false;
  const reported = new Map<string | undefined, string>();
  const onFailure = (error: unknown) => {
    log[lost ? "debug" : "warn"]({ reason: reasonOf(error) }, "cluster events lost, watching again");
    lost = true;
  };
  for await (const { pods, changed, broken } of watchPods(cluster, SELECT_OURS, signal, onFailure)) {
    if (broken || !changed) reported.clear();
    if (broken) {
      yield { kind: "disconnected" };
      continue;
    }
    if (lost) log.info({}, "cluster events connected again");
    if (lost || !changed) yield { kind: "connected" };
    lost = false;
    const service = serviceOf(changed?.metadata);
    const labels = readLabels(changed?.metadata);
    if (service === undefined || !labels) continue;
    const instance = changed?.metadata?.uid;
    const isGone = !pods.has(instance ?? "");
    const ended =
      isGone || changed?.metadata?.deletionTimestamp !== undefined || (changed && (podStateOf(changed).is === "ended" || isHostWithdrawn(changed)));
    // Conditions and probes change often, and each event costs control two calls.
    const summary = JSON.stringify([changed && podStateOf(changed).is, hostOf(changed), changed && restartsOf(changed), ended]);
    if (reported.get(instance) === summary) continue;
    reported.set(instance, summary);
    if (isGone) reported.delete(instance);
    yield { kind: "changed", service, container: labels.container, ...(ended ? { ended: { instance } } : {}) };
  }
}

const RETRY_MS = { first: 250, longest: 10_000 };
/** After a watch of this length the next failure starts again with the shortest delay. */
const STABLE_MS = 10_000;
/** The server ends a watch after this time, and the next one continues at its version. */
const WATCH_S = 240;
/** A server that has not ended the watch this long after that is gone. */
const LATE_MS = 30_000;
const DOING = "Watching pods";

/** The current pods, by uid. `changed` is the pod of an event. Without it the pods were listed, or the watch was resumed; with `broken` it broke off. */
type WatchedPods = { pods: ReadonlyMap<string, V1Pod>; changed?: V1Pod; broken?: true };

/** `OPENED` is not from the server: the server has accepted the watch. */
type WatchLine = { type: "OPENED"; object?: undefined } | WatchEvent;
type WatchEvent = {
  type: "ADDED" | "MODIFIED" | "DELETED" | "BOOKMARK" | "ERROR";
  object: V1Pod & { code?: number; message?: string; reason?: string };
};

/** A watch without a version begins with all pods that exist, each as an event of its own. */
const FROM_NOW = "";

/**
 * The pods of a selector, at each change, until the signal aborts. With `unlisted` the first ones come one by one, which saves a call. A broken watch continues at its last version. If the server no longer has that version
 * (410), the pods are listed again. `onFailure` is called with each failure, and ends the stream by throwing.
 * https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes
 */
export async function* watchPods(
  cluster: KubernetesApi,
  selector: string,
  signal: AbortSignal,
  onFailure: (error: unknown) => void,
  { unlisted = false }: { unlisted?: boolean } = {},
): AsyncGenerator<WatchedPods> {
  const { clock } = cluster;
  const delays = createBackoff(RETRY_MS.first, RETRY_MS.longest);
  const pods = new Map<string, V1Pod>();
  let version: string | undefined = unlisted ? FROM_NOW : undefined;
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
          if (version === FROM_NOW) pods.clear();
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
      // The server has ended it; no event was missed.
      if (clock.monotonic() - began > STABLE_MS) {
        delays.reset();
        continue;
      }
    } catch (error) {
      if (signal.aborted) return;
      const isFirst = !broken;
      broken = true;
      // 410 Gone: the server has forgotten the events since that version.
      if (answered(error, 410)) version = undefined;
      else {
        onFailure(error);
        if (isFirst) yield { pods, broken };
      }
      if (clock.monotonic() - began > STABLE_MS) delays.reset();
    }
    await clock.sleep(delays.next(), signal).catch(() => {});
  }
}

/** An error of an accepted watch arrives as a line of it. */
function refused({ namespace }: KubernetesApi, { code = 500, reason = "", message = "" }: WatchEvent["object"]): Fault {
  return refusedFault(new Refusal(code, reason, message), { doing: DOING, verb: "watch", resource: "pods", namespace });
}

/** Ends by the signal's reason even where the stream, once in a while on a busy machine, does not notice the end of its connection. */
async function* readUntil(stream: IncomingMessage, signal: AbortSignal): AsyncGenerator<Buffer> {
  const chunks = stream[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
  for (;;) {
    const { done, value } = await raceAbort(chunks.next(), signal);
    if (done === true) return;
    yield value;
  }
}

async function* watchFrom(cluster: KubernetesApi, labelSelector: string, version: string, signal: AbortSignal): AsyncGenerator<WatchLine> {
  const query = {
    watch: "true",
    allowWatchBookmarks: "true",
    timeoutSeconds: String(WATCH_S),
    labelSelector,
    ...(version === FROM_NOW ? {} : { resourceVersion: version }),
  };
  const late = new AbortController();
  const cancel = cluster.clock.after(WATCH_S * 1_000 + LATE_MS, () =>
    late.abort(new Fault("ENGINE_UNREACHABLE", "Watching pods: the Kubernetes API fell silent.")),
  );
  let stream: IncomingMessage | undefined;
  try {
    const either = AbortSignal.any([signal, late.signal]);
    stream = await cluster.open({ doing: DOING, verb: "watch", resource: "pods", query, signal: either });
    yield { type: "OPENED" };
    yield* jsonLines<WatchEvent>(readUntil(stream, either));
  } catch (error) {
    signal.throwIfAborted();
    throw late.signal.aborted
      ? late.signal.reason
      : error instanceof Fault
        ? error
        : unreachable(error, { doing: DOING, at: cluster.at, hasAnswered: true });
  } finally {
    cancel();
    stream?.destroy();
  }
}
