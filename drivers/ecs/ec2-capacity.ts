import type { ContainerInstance, Resource } from "@aws-sdk/client-ecs";

/** What a task asks of one container instance: CPU in units of 1/1024 vCPU, memory in MiB, whole GPUs, ports of the instance itself. */
export type TaskNeeds = { cpu: number; memoryMb: number; gpu: number; hostPorts: readonly number[] };

export type CapacityResult = { fits: true } | { fits: false; why: string };

/** Instances have it where their tasks may have network interfaces of their own (`awsvpc`). */
const TASK_NETWORK = "ecs.capability.task-eni";

/** What may be missing on an instance, the first of which is named. */
const LACKS: readonly { what: string; lacks(instance: ContainerInstance, need: TaskNeeds): boolean }[] = [
  { what: "is active with its agent connected", lacks: ({ status, agentConnected }) => status !== "ACTIVE" || agentConnected !== true },
  { what: `has the attribute ${TASK_NETWORK}`, lacks: ({ attributes }) => attributes?.some(({ name }) => name === TASK_NETWORK) !== true },
  { what: "has the GPUs free", lacks: (instance, { gpu }) => gpu > 0 && free(instance, "GPU").names.length < gpu },
  { what: "has the CPU free", lacks: (instance, { cpu }) => free(instance, "CPU").number < cpu },
  { what: "has the memory free", lacks: (instance, { memoryMb }) => free(instance, "MEMORY").number < memoryMb },
  // Of ports, the list has those that are taken.
  { what: "has the ports free", lacks: (instance, { hostPorts }) => hostPorts.some((port) => free(instance, "PORTS").names.includes(String(port))) },
];

/** Whether any one of these instances has room now; where none has, what the one that came furthest lacks. */
export function findEc2Capacity(instances: readonly ContainerInstance[], need: TaskNeeds): CapacityResult {
  if (instances.length === 0) return { fits: false, why: "the cluster has no EC2 instances" };
  const lacking = instances.map((instance) => LACKS.findIndex(({ lacks }) => lacks(instance, need)));
  if (lacking.includes(-1)) return { fits: true };
  return { fits: false, why: `none of the cluster's ${instances.length} EC2 instances ${LACKS[Math.max(...lacking)]?.what}` };
}

function free({ remainingResources }: ContainerInstance, name: string): { number: number; names: readonly string[] } {
  const found: Resource | undefined = remainingResources?.find((resource) => resource.name === name);
  return { number: found?.integerValue ?? 0, names: found?.stringSetValue ?? [] };
}
