import type { ContainerInstance, Resource } from "@aws-sdk/client-ecs";
import type { Spec } from "../driver.ts";
import { advisedFault } from "../faults.ts";
import { gpuFault } from "../gpu.ts";
import type { Aws } from "./aws.ts";
import { Fault } from "../../lib/fault.ts";
import type { CapacityShare, EcsSite, LaunchType, TaskArchitecture } from "./site.ts";

/** The kind of machine of a task. */
export type TaskLaunch = { type: "EC2" } | { type: "FARGATE"; size: FargateSize };

const PER_DESCRIBE = 100;
/** 5 000 instances, the limit of a cluster. */
const MOST_PAGES = 50;

/** CPU in units of 1/1024 vCPU, as in container definitions. */
export function cpuUnits({ cpu }: Pick<Spec, "cpu">): number {
  return Math.ceil(cpu * 1_024);
}

/**
 * The configured launch type. By default EC2 if an instance of the cluster has the capacity now, else Fargate.
 * Faults: SPEC_REFUSED (a size that Fargate does not have), NO_CAPACITY (a GPU on Fargate, or no instance has the GPUs free), and AWS's.
 */
export async function chooseLaunch(
  { aws, launchType: configured, architecture }: Pick<EcsSite, "aws" | "launchType" | "architecture">,
  spec: Spec,
  signal: AbortSignal,
): Promise<TaskLaunch> {
  if (configured === "ec2") return { type: "EC2" };
  if (configured === "fargate" && spec.gpu > 0)
    throw gpuFault(`${spec.service} requests ${spec.gpu} GPU, and …_ECS__LAUNCH_TYPE is FARGATE, which has none`);
  if (configured === undefined) {
    // With awsvpc a task has its own ports, and needs none of the instance.
    const need = { cpu: cpuUnits(spec), memoryMb: spec.memoryMb, gpu: spec.gpu, hostPorts: [], architecture };
    const capacity = findEc2Capacity(await instances(aws, signal), need);
    if (capacity.fits) return { type: "EC2" };
    if (spec.gpu > 0) throw gpuFault(`${spec.service} requests ${spec.gpu} GPU, but ${capacity.why}; Fargate has no GPUs`);
  }
  return { type: "FARGATE", size: fargateSize(spec) };
}

const FARGATE_PROVIDER = /^FARGATE(_SPOT)?$/;

/** `FARGATE_SPOT=3` is three of four tasks beside `FARGATE`; without a number the share is 1. */
export function parseCapacityShares(texts: readonly string[]): CapacityShare[] {
  return texts.map((text) => {
    const [name = "", weight = "1"] = text.split("=");
    return { name, weight: Number(weight) };
  });
}

/** The kind of machines of these capacity providers; undefined without any. Faults: SETTINGS_INVALID for a mix, which ECS refuses. */
export function launchTypeOf(shares: readonly CapacityShare[]): LaunchType | undefined {
  const onFargate = shares.filter(({ name }) => FARGATE_PROVIDER.test(name)).length;
  if (onFargate > 0 && onFargate < shares.length)
    throw new Fault(
      "SETTINGS_INVALID",
      `BERTH_ECS_CAPACITY_PROVIDERS mixes ${shares.map(({ name }) => name).join(", ")}: name either FARGATE and FARGATE_SPOT, or providers of EC2 instances.`,
    );
  if (shares.length === 0) return undefined;
  return onFargate > 0 ? "fargate" : "ec2";
}

async function instances(aws: Aws, signal: AbortSignal): Promise<ContainerInstance[]> {
  const all: ContainerInstance[] = [];
  let nextToken: string | undefined;
  for (let page = 0; page < MOST_PAGES; page++) {
    const listed = await aws.listContainerInstances({ status: "ACTIVE", maxResults: PER_DESCRIBE, nextToken }, signal);
    const arns = listed.containerInstanceArns ?? [];
    if (arns.length > 0) all.push(...((await aws.describeContainerInstances(arns, signal)).containerInstances ?? []));
    nextToken = listed.nextToken;
    if (nextToken === undefined) break;
  }
  return all;
}

/** What a task requests of one instance: CPU in units of 1/1024 vCPU, memory in MiB, whole GPUs, ports of the instance itself. */
type TaskNeeds = { cpu: number; memoryMb: number; gpu: number; hostPorts: readonly number[]; architecture: TaskArchitecture | undefined };

type CapacityResult = { fits: true } | { fits: false; why: string };

/** The attribute of instances whose tasks may have their own network interfaces (`awsvpc`). */
const TASK_NETWORK = "ecs.capability.task-eni";
const CPU_ARCHITECTURE = "ecs.cpu-architecture";

/** What an instance may lack; the first one is reported. */
const LACKS: readonly { what: string; lacks(instance: ContainerInstance, need: TaskNeeds): boolean }[] = [
  { what: "is active with its agent connected", lacks: ({ status, agentConnected }) => status !== "ACTIVE" || agentConnected !== true },
  { what: `has the attribute ${TASK_NETWORK}`, lacks: ({ attributes }) => attributes?.some(({ name }) => name === TASK_NETWORK) !== true },
  {
    what: "has the processor of BERTH_ECS_ARCHITECTURE",
    lacks: ({ attributes }, { architecture }) =>
      architecture !== undefined && attributes?.some(({ name, value }) => name === CPU_ARCHITECTURE && value === architecture) !== true,
  },
  { what: "has the GPUs free", lacks: (instance, { gpu }) => gpu > 0 && free(instance, "GPU").names.length < gpu },
  { what: "has the CPU free", lacks: (instance, { cpu }) => free(instance, "CPU").number < cpu },
  { what: "has the memory free", lacks: (instance, { memoryMb }) => free(instance, "MEMORY").number < memoryMb },
  // The list has the ports that are taken.
  { what: "has the ports free", lacks: (instance, { hostPorts }) => hostPorts.some((port) => free(instance, "PORTS").names.includes(String(port))) },
];

/** Whether one of these instances has the capacity now; if none has, what the best one lacks. */
export function findEc2Capacity(instances: readonly ContainerInstance[], need: TaskNeeds): CapacityResult {
  if (instances.length === 0) return { fits: false, why: "the cluster has no EC2 instances" };
  const lacking = instances.map((instance) => LACKS.findIndex(({ lacks }) => lacks(instance, need)));
  if (lacking.includes(-1)) return { fits: true };
  return { fits: false, why: `none of the cluster's ${instances.length} EC2 instances ${LACKS[Math.max(...lacking)]?.what}` };
}

function free({ remainingResources }: ContainerInstance, name: string): { number: number; names: readonly string[] } {
  const resource: Resource | undefined = remainingResources?.find((one) => one.name === name);
  return { number: resource?.integerValue ?? 0, names: resource?.stringSetValue ?? [] };
}

/** CPU in units of 1/1024 vCPU, memory in MiB. */
type FargateSize = { cpu: number; memoryMb: number };

/**
 * Fargate's sizes, smallest first, after the table "Task CPU and memory" of the ECS developer guide
 * (https://docs.aws.amazon.com/AmazonECS/latest/developerguide/fargate-tasks-services.html#fargate-tasks-size).
 */
export const FARGATE_SIZES: readonly { cpu: number; memoryMb: readonly number[] }[] = [
  { cpu: 256, memoryMb: [512, 1_024, 2_048] },
  { cpu: 512, memoryMb: steps(1_024, 4_096, 1_024) },
  { cpu: 1_024, memoryMb: steps(2_048, 8_192, 1_024) },
  { cpu: 2_048, memoryMb: steps(4_096, 16_384, 1_024) },
  { cpu: 4_096, memoryMb: steps(8_192, 30_720, 1_024) },
  { cpu: 8_192, memoryMb: steps(16_384, 61_440, 4_096) },
  { cpu: 16_384, memoryMb: steps(32_768, 122_880, 8_192) },
];

/** The smallest size with this CPU and memory. Faults: SPEC_REFUSED. */
export function fargateSize({ cpu, memoryMb }: { cpu: number; memoryMb: number }): FargateSize {
  for (const size of FARGATE_SIZES) {
    const enough = size.cpu >= cpu * 1_024 ? size.memoryMb.find((most) => most >= memoryMb) : undefined;
    if (enough !== undefined) return { cpu: size.cpu, memoryMb: enough };
  }
  const sentence = `Fargate has no size for ${cpu} CPU with ${memoryMb} MB; the largest is 16 CPU with 122880 MB`;
  throw advisedFault("SPEC_REFUSED", sentence, { todo: "Request less in container.json, or add EC2 instances to the cluster." });
}

function steps(from: number, to: number, by: number): number[] {
  return Array.from({ length: (to - from) / by + 1 }, (_, at) => from + at * by);
}
