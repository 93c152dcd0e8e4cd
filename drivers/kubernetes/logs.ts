import type { IncomingMessage } from "node:http";
import { StringDecoder } from "node:string_decoder";
import type { V1Pod } from "@kubernetes/client-node";
import type { Call, Spec } from "../driver.ts";
import type { KubernetesApi } from "./cluster.ts";
import { answered, unreachable } from "./faults.ts";
import { selectService } from "./labels.ts";
import { listAll } from "./objects.ts";
import { currentPod, restartsOf, lastEnd, lastMessage, podStateOf } from "./observe.ts";
import { CONTAINER } from "./definition.ts";
import { Fault } from "../../lib/fault.ts";
import { linesOf } from "../faults.ts";

/** Ends when the container does; an aborted call rejects with the signal's reason. */
export async function* logs(
  cluster: KubernetesApi,
  service: string,
  { tail, follow = false }: { tail: number; follow?: boolean },
  { signal }: Call,
): AsyncGenerator<string> {
  const pod = currentPod((await listAll(cluster, "pods", selectService(service), signal)).items);
  if (!pod) return;
  if (follow || restartsOf(pod) === 0) return yield* logsOf(cluster, pod, { tail, follow }, signal);
  // The cluster started it again since: its last words are in the log before.
  let text = "";
  for (const previous of [true, false]) for await (const piece of logsOf(cluster, pod, { tail, previous }, signal)) text += piece;
  yield text
    .split(/(?<=\n)/)
    .slice(-tail)
    .join("");
}

/** Of one pod; `previous` is the run before this one. Empty where the container never ran, or the node has forgotten. */
export async function* logsOf(
  cluster: KubernetesApi,
  pod: V1Pod,
  { tail, follow = false, previous = false }: { tail: number; follow?: boolean; previous?: boolean },
  signal: AbortSignal,
): AsyncGenerator<string> {
  const name = pod.metadata?.name ?? "";
  const doing = `Reading the logs of ${name}`;
  const query = { container: CONTAINER, tailLines: String(tail), follow: String(follow), previous: String(previous) };
  let stream: IncomingMessage;
  try {
    stream = await cluster.open({ doing, verb: "get", resource: "pods", name, part: "log", query, signal });
  } catch (error) {
    // 400: it waits to be started, or there was no run before.
    if (answered(error, 400, 404)) return;
    throw error;
  }
  const decoder = new StringDecoder("utf8");
  try {
    for await (const chunk of stream as AsyncIterable<Buffer>) {
      const text = decoder.write(chunk);
      if (text !== "") yield text;
    }
    signal.throwIfAborted();
  } catch (error) {
    signal.throwIfAborted();
    throw unreachable(error, doing, cluster.at);
  } finally {
    stream.destroy();
  }
}

const LAST_LINES = 20;

/** What a container that ended by itself leaves behind, read before its pod is removed. */
export async function podCrashFault(cluster: KubernetesApi, spec: Spec, pod: V1Pod, signal: AbortSignal): Promise<Fault> {
  const verdict = podStateOf(pod);
  const again = verdict.is !== "ended";
  const end = again ? lastEnd(pod) : verdict;
  const logs = await lastLines(cluster, pod, again, signal);
  if (end?.exit.outOfMemory) {
    const sentence = `${spec.service} ran out of memory (its limit is ${spec.memoryMb} MB) and was killed before it was ready.`;
    return new Fault("CONTAINER_OUT_OF_MEMORY", sentence, { logs });
  }
  return new Fault("CONTAINER_CRASHED", `${spec.service} ended before it was ready, exit code ${end?.exit.code ?? "unknown"}${end?.says ?? ""}.`, {
    logs,
  });
}

async function lastLines(cluster: KubernetesApi, pod: V1Pod, previous: boolean, signal: AbortSignal): Promise<string[]> {
  let text = "";
  try {
    for await (const piece of logsOf(cluster, pod, { tail: LAST_LINES, previous }, signal)) text += piece;
  } catch {
    // The crash is what matters; a log that cannot be read must not hide it.
    signal.throwIfAborted();
  }
  return linesOf(text === "" ? lastMessage(pod) : text).slice(-LAST_LINES);
}
