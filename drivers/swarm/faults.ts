import { Fault } from "../../lib/fault.ts";
import type { Call, Registry, Spec } from "../driver.ts";
import type { Engine } from "../engine/engine.ts";
import { codeOf } from "../engine/faults.ts";
import { queryDigest } from "../engine/images.ts";
import { advisedFault, crashFault, LOG_TAIL_LINES, logTail } from "../faults.ts";
import { gpuFault } from "../gpu.ts";
import { parseReference } from "../image.ts";
import type { SwarmCluster, Task } from "./cluster.ts";
import { isGpuKind } from "./create-destroy.ts";
import { taskLogs } from "./logs.ts";
import { localContainer } from "./observe.ts";

/** Why a task ended before it was ready. Reads the task before its service is removed. */
export async function taskFault(engine: Engine, spec: Spec, task: Task, registry: Registry | undefined, call: Call): Promise<Fault> {
  const { signal } = call;
  const { State, Err = "", Message = "", ContainerStatus } = task.Status;
  const reason = Err || Message;
  if (/no such image/i.test(reason)) return whyNoImage(engine, spec, task, registry, call);
  if (State === "orphaned") return advisedFault("CONTAINER_CRASHED", `${spec.service}: its node ${task.NodeID} has been away for too long`);
  const id = ContainerStatus?.ContainerID;
  const local = id ? await localContainer(engine, id, signal) : undefined;
  // A container that ran ended by itself, whatever its last error is.
  const code = local?.code ?? ContainerStatus?.ExitCode;
  const ran = local !== undefined || /non-zero exit/.test(reason) || State === "complete";
  const faultCode = codeOf("start", reason);
  if (!ran && faultCode !== undefined && faultCode !== "CONTAINER_CRASHED")
    return advisedFault(faultCode, `Starting ${spec.service} on node ${task.NodeID}: ${reason}`);
  if (!ran && faultCode === undefined && State === "rejected")
    return advisedFault("ENGINE_FAILED", `The node ${task.NodeID} has rejected ${spec.service}: ${reason}`);
  const logs = await logTail(taskLogs(engine, task, { tail: LOG_TAIL_LINES, timestamps: true }, signal), signal);
  return crashFault(spec, { code, outOfMemory: local?.outOfMemory, ...(ran ? {} : { reason }) }, logs);
}

/** Nodes only log why they could not pull, so the registry is queried again. */
async function whyNoImage(engine: Engine, spec: Spec, task: Task, registry: Registry | undefined, call: Call): Promise<Fault> {
  const named = parseReference(spec.image);
  if (named.kind === "id") return advisedFault("IMAGE_NOT_FOUND", `The node ${task.NodeID} has no image ${spec.image}, and no registry has this id`);
  try {
    await queryDigest(engine, named, registry, call);
  } catch (error) {
    if (error instanceof Fault) return error;
    throw error;
  }
  const sentence = `The node ${task.NodeID} has no image ${spec.image} and could not pull it, though its registry has it. Can that machine reach the registry, and does its engine trust it? Its engine's log says more`;
  return new Fault("IMAGE_NOT_FOUND", `${sentence}.`);
}

/** Without waiting for the scheduler. Faults: NO_CAPACITY. */
export function refuseWithoutGpu({ service, gpu }: Spec, cluster: SwarmCluster): void {
  if (gpu === 0 || cluster.nodes.some(({ resources }) => resources.some(isGpuKind))) return;
  throw gpuFault(`${service} requests ${gpu} GPU, and no node of the swarm has any (node-generic-resources)`);
}

/** The scheduler has had no node or no address for a task for too long. */
export function unplacedFault(spec: Spec, task: Task | undefined, network: string): Fault {
  const reason = task?.Status.Err || task?.Status.Message || "";
  // The scheduler names no kind of resource. If it is not the GPU, a start without it reports the same again.
  if (spec.gpu > 0 && /insufficient resources/i.test(reason)) return gpuFault(`${spec.service} requests ${spec.gpu} GPU: ${reason}`);
  if (/insufficient resources|host-mode port already in use/i.test(reason)) return advisedFault("NO_CAPACITY", `${spec.service}: ${reason}`);
  if (task?.Status.State === "pending") return advisedFault("CONTAINER_UNSCHEDULABLE", `${spec.service}: ${reason}`);
  const sentence = `${spec.service}: the swarm has not begun to place it${reason ? ` (${reason})` : ""}. Has its network ${network} addresses left?`;
  return advisedFault("NO_CAPACITY", sentence);
}
