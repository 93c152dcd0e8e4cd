import type { V1Pod } from "@kubernetes/client-node";
import { Fault } from "../../lib/fault.ts";
import type { Spec } from "../driver.ts";
import { linesOf } from "../crash-fault.ts";
import type { KubernetesApi } from "./cluster.ts";
import { logsOf } from "./logs.ts";
import { lastEnd, lastMessage, podStateOf } from "./pod-state.ts";

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
