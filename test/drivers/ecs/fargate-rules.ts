// What ECS refuses of task definitions for Fargate, which moto takes: RegisterTaskDefinition of the API reference and "Task size" of the developer
// guide, written out here a second time, so that the driver's own table is held against another.
type Definition = {
  requiresCompatibilities?: string[];
  networkMode?: string;
  cpu?: string;
  memory?: string;
  executionRoleArn?: string;
  ephemeralStorage?: { sizeInGiB: number };
  containerDefinitions: {
    memory?: number;
    cpu?: number;
    linuxParameters?: { sharedMemorySize?: number };
    resourceRequirements?: { type: string }[];
    logConfiguration?: { logDriver: string };
  }[];
};

/** GB by vCPU: the least, the most, the step. */
const GB: Record<string, [number, number, number]> = {
  "512": [1, 4, 1],
  "1024": [2, 8, 1],
  "2048": [4, 16, 1],
  "4096": [8, 30, 1],
  "8192": [16, 60, 4],
  "16384": [32, 120, 8],
};

/** True for a pair that Fargate sells; both in units as task definitions have them. */
export function isFargateSize(cpu: number, memoryMb: number): boolean {
  if (cpu === 256) return [512, 1024, 2048].includes(memoryMb);
  const [least, most, step] = GB[String(cpu)] ?? [0, -1, 1];
  const gb = memoryMb / 1024;
  return gb >= least && gb <= most && (gb - least) % step === 0;
}

/** ECS's sentence, where it refuses the definition with a ClientException. */
export function refusal(definition: Definition): string | undefined {
  const { cpu, memory, ephemeralStorage, containerDefinitions: containers } = definition;
  if (!definition.requiresCompatibilities?.includes("FARGATE")) {
    if (ephemeralStorage) return "Ephemeral storage is only supported for tasks that are launched on Fargate.";
    return undefined;
  }
  if (definition.networkMode !== "awsvpc") return "Fargate only supports network mode ‘awsvpc’.";
  if (cpu === undefined || memory === undefined) return "Fargate requires that 'cpu' be defined at the task level.";
  if (!isFargateSize(Number(cpu), Number(memory)))
    return `No Fargate configuration exists for given values: ${cpu} CPU, ${memory} memory. See the Amazon ECS documentation for the valid values.`;
  for (const container of containers) {
    if ((container.memory ?? 0) > Number(memory)) return "The 'memory' setting for container is greater than for the task.";
    if ((container.cpu ?? 0) > Number(cpu)) return "The 'cpu' setting for container is greater than for the task.";
    if (container.linuxParameters?.sharedMemorySize !== undefined) return "Fargate does not support 'sharedMemorySize'.";
    if (container.resourceRequirements?.some(({ type }) => type === "GPU")) return "Fargate does not support GPU resource requirements.";
    if (container.logConfiguration?.logDriver === "awslogs" && definition.executionRoleArn === undefined)
      return "Fargate requires task definition to have execution role ARN to support log driver awslogs.";
  }
  if (ephemeralStorage && (ephemeralStorage.sizeInGiB < 21 || ephemeralStorage.sizeInGiB > 200))
    return "Invalid value for ephemeral storage: it must be between 21 and 200 GiB.";
  return undefined;
}
