import type { IncomingMessage } from "node:http";
import type { V1Pod } from "@kubernetes/client-node";
import { Fault } from "../../lib/fault.ts";
import { decodeText, shortenTimes } from "../../lib/lines.ts";
import type { LogOptions, OwnedCall, Spec } from "../driver.ts";
import { linesOf, LOG_TAIL_LINES, logTail } from "../faults.ts";
import type { KubernetesApi } from "./cluster.ts";
import { CONTAINER, selectOwnService, selectService } from "./definition.ts";
import { answered, unreachable } from "./faults.ts";
import { listAll } from "./objects.ts";
import { currentPod, lastEnd, lastMessage, podStateOf, restartsOf } from "./observe.ts";

/** Ends when the container does. */
export async function* logs(
  cluster: KubernetesApi,
  service: string,
  { tail, follow = false, timestamps = false }: LogOptions,
  { signal, owner }: OwnedCall,
): AsyncGenerator<string> {
  const selector = owner === undefined ? selectService(service) : selectOwnService(service, owner);
  const pod = currentPod((await listAll(cluster, "pods", selector, signal)).items);
  if (!pod) return;
  if (follow || restartsOf(pod) === 0) return yield* logsOf(cluster, pod, { tail, follow, timestamps }, signal);
  // The cluster has restarted it: the reason is in the log before.
  let text = "";
  for (const previous of [true, false]) for await (const piece of logsOf(cluster, pod, { tail, previous, timestamps }, signal)) text += piece;
  yield text
    .split(/(?<=\n)/)
    .slice(-tail)
    .join("");
}

/** The log of one pod; `previous` is the run before this one. Empty if the container never ran, or its node has no log any more. */
async function* logsOf(
  cluster: KubernetesApi,
  pod: V1Pod,
  { tail, follow = false, timestamps = false, previous = false }: LogOptions & { previous?: boolean },
  signal: AbortSignal,
): AsyncGenerator<string> {
  const name = pod.metadata?.name ?? "";
  const doing = `Reading the logs of ${name}`;
  const query = { container: CONTAINER, tailLines: String(tail), follow: String(follow), previous: String(previous), timestamps: String(timestamps) };
  let stream: IncomingMessage;
  try {
    stream = await cluster.open({ doing, verb: "get", resource: "pods", name, part: "log", query, signal });
  } catch (error) {
    // 400: it waits for its start, or had no previous run.
    if (answered(error, 400, 404)) return;
    throw error;
  }
  try {
    yield* timestamps ? shortenTimes(decodeText(stream)) : decodeText(stream);
    signal.throwIfAborted();
  } catch (error) {
    signal.throwIfAborted();
    throw unreachable(error, { doing, at: cluster.at, hasAnswered: true });
  } finally {
    stream.destroy();
  }
}

/** Why a container ended by itself; read before its pod is removed. An adopted one was ready earlier. */
export async function podCrashFault(
  cluster: KubernetesApi,
  spec: Spec,
  { pod, adopted }: { pod: V1Pod; adopted: boolean },
  signal: AbortSignal,
): Promise<Fault> {
  const before = adopted ? "" : " before it was ready";
  const state = podStateOf(pod);
  const restarted = state.is !== "ended";
  const end = restarted ? lastEnd(pod) : state;
  const lines = await logTail(logsOf(cluster, pod, { tail: LOG_TAIL_LINES, previous: restarted, timestamps: true }, signal), signal);
  const logs = lines.length > 0 ? lines : linesOf(lastMessage(pod)).slice(-LOG_TAIL_LINES);
  if (end?.exit.outOfMemory) {
    const sentence = `${spec.service} ran out of memory (its limit is ${spec.memoryMb} MB) and was killed${before}.`;
    return new Fault("CONTAINER_OUT_OF_MEMORY", sentence, { logs });
  }
  const reason = end?.reason ? `: ${end.reason}` : "";
  return new Fault("CONTAINER_CRASHED", `${spec.service} ended${before}, exit code ${end?.exit.code ?? "unknown"}${reason}.`, { logs });
}
