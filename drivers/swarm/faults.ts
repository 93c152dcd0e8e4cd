import { Fault } from "../../lib/fault.ts";
import { advisedFault, crashFault, LOG_TAIL_LINES, logTail } from "../faults.ts";
import type { Call, Registry, Spec } from "../driver.ts";
import { askDistribution } from "../engine/pull.ts";
import type { Engine } from "../engine/engine.ts";
import { readAnswer } from "../engine/faults.ts";
import { parseReference } from "../image.ts";
import { localContainer } from "./observe.ts";
import { taskLogs } from "./logs.ts";
import type { Task } from "./cluster.ts";

/** Why a task ended before it was ready; read before its service is removed. */
export async function taskFault(engine: Engine, spec: Spec, task: Task, registry: Registry | undefined, call: Call): Promise<Fault> {
  const { signal } = call;
  const { State, Err = "", Message = "", ContainerStatus } = task.Status;
  const said = Err || Message;
  if (/no such image/i.test(said)) return whyNoImage(engine, spec, task, registry, call);
  if (State === "orphaned") return advisedFault("CONTAINER_CRASHED", `${spec.service}: its node ${task.NodeID} has been away for too long`);
  const id = ContainerStatus?.ContainerID;
  const local = id ? await localContainer(engine, id, signal) : undefined;
  // A container that ran ended by itself, whatever words its last error has.
  const code = local?.code ?? ContainerStatus?.ExitCode;
  const ran = local !== undefined || /non-zero exit/.test(said) || State === "complete";
  const known = readAnswer("start", said);
  if (!ran && known !== undefined && known !== "CONTAINER_CRASHED")
    return advisedFault(known, `Starting ${spec.service} on node ${task.NodeID}: ${said}`);
  if (!ran && known === undefined && State === "rejected")
    return advisedFault("ENGINE_FAILED", `The node ${task.NodeID} has rejected ${spec.service}: ${said}`);
  const logs = await logTail(taskLogs(engine, task, { tail: LOG_TAIL_LINES }, signal), signal);
  return crashFault(spec, { code, outOfMemory: local?.outOfMemory, ...(ran ? {} : { said }) }, logs);
}

/** Nodes log why they could not pull, and tell nobody: the registry is asked again, in the same words. */
async function whyNoImage(engine: Engine, spec: Spec, task: Task, registry: Registry | undefined, call: Call): Promise<Fault> {
  const named = parseReference(spec.image);
  if (named.kind === "id") return advisedFault("IMAGE_NOT_FOUND", `The node ${task.NodeID} has no image ${spec.image}, which no registry knows`);
  try {
    await askDistribution(engine, named, registry, call);
  } catch (error) {
    if (error instanceof Fault) return error;
    throw error;
  }
  const sentence = `The node ${task.NodeID} has no image ${spec.image} and could not pull it, though its registry has it. Can that machine reach the registry, and does its engine trust it? Its engine's log says more`;
  return new Fault("IMAGE_NOT_FOUND", `${sentence}.`);
}

/** A task for which the scheduler has found no node, or no address, for so long that it will not by itself. */
export function unplacedFault(spec: Spec, task: Task | undefined, network: string): Fault {
  const said = task?.Status.Err || task?.Status.Message || "";
  if (/insufficient resources|host-mode port already in use/i.test(said)) return advisedFault("NO_CAPACITY", `${spec.service}: ${said}`);
  if (task?.Status.State === "pending") return advisedFault("CONTAINER_UNSCHEDULABLE", `${spec.service}: ${said}`);
  const sentence = `${spec.service}: the swarm has not even begun to place it${said ? ` (${said})` : ""}. Has its network ${network} addresses left?`;
  return advisedFault("NO_CAPACITY", sentence);
}
