import type { ContainerInstance } from "@aws-sdk/client-ecs";
import { advisedFault } from "../faults.ts";
import type { Spec } from "../driver.ts";
import type { Aws } from "./aws.ts";
import { findEc2Capacity } from "./ec2-capacity.ts";
import { fargateSize, type FargateSize } from "./fargate-sizes.ts";
import type { LaunchType } from "./site.ts";

/** What a task runs on. */
export type Launch = { type: "EC2" } | { type: "FARGATE"; size: FargateSize };

const PER_DESCRIBE = 100;
/** 5 000 instances, which is what a cluster may have. */
const MOST_PAGES = 50;

/** CPU in units of 1/1024 vCPU, as container definitions want it. */
export function cpuUnits({ cpu }: Pick<Spec, "cpu">): number {
  return Math.ceil(cpu * 1_024);
}

/**
 * The launch type that is set; where none is, EC2 if the cluster's instances have room now, else Fargate.
 * Faults: SPEC_REFUSED (a GPU on Fargate, a size that it does not have), CONTAINER_UNSCHEDULABLE (no instance has the GPUs free), and AWS's.
 */
export async function chooseLaunch(aws: Aws, spec: Spec, wished: LaunchType | undefined, signal: AbortSignal): Promise<Launch> {
  if (wished === "ec2") return { type: "EC2" };
  if (wished === "fargate" && spec.gpu > 0) {
    const todo = "Unset …_ECS__LAUNCH_TYPE and add EC2 instances with GPUs.";
    throw advisedFault("SPEC_REFUSED", `${spec.service} wants ${spec.gpu} GPU, which Fargate does not have`, { todo });
  }
  if (wished === undefined) {
    // With awsvpc a task has ports of its own, so none of the instance's are in its way.
    const room = findEc2Capacity(await instances(aws, signal), { cpu: cpuUnits(spec), memoryMb: spec.memoryMb, gpu: spec.gpu, hostPorts: [] });
    if (room.fits) return { type: "EC2" };
    if (spec.gpu > 0) {
      const sentence = `${spec.service} wants ${spec.gpu} GPU, but ${room.why}; Fargate has no GPUs`;
      throw advisedFault("CONTAINER_UNSCHEDULABLE", sentence, { todo: "Add an instance that does." });
    }
  }
  return { type: "FARGATE", size: fargateSize(spec) };
}

async function instances(aws: Aws, signal: AbortSignal): Promise<ContainerInstance[]> {
  const found: ContainerInstance[] = [];
  let nextToken: string | undefined;
  for (let page = 0; page < MOST_PAGES; page++) {
    const listed = await aws.listContainerInstances({ status: "ACTIVE", maxResults: PER_DESCRIBE, nextToken }, signal);
    const arns = listed.containerInstanceArns ?? [];
    if (arns.length > 0) found.push(...((await aws.describeContainerInstances(arns, signal)).containerInstances ?? []));
    nextToken = listed.nextToken;
    if (nextToken === undefined) break;
  }
  return found;
}
