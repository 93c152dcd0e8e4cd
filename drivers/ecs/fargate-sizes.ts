import { advisedFault } from "../faults.ts";

/** CPU in units of 1/1024 vCPU, memory in MiB. */
export type FargateSize = { cpu: number; memoryMb: number };

/**
 * What Fargate sells, smallest first, after the table "Task CPU and memory" of the ECS developer guide
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

/** The smallest that has room for so many cores and so much memory. Faults: SPEC_REFUSED. */
export function fargateSize({ cpu, memoryMb }: { cpu: number; memoryMb: number }): FargateSize {
  for (const size of FARGATE_SIZES) {
    const enough = size.cpu >= cpu * 1_024 ? size.memoryMb.find((most) => most >= memoryMb) : undefined;
    if (enough !== undefined) return { cpu: size.cpu, memoryMb: enough };
  }
  const sentence = `Fargate has no size for ${cpu} CPU with ${memoryMb} MB; the largest is 16 CPU with 122880 MB`;
  throw advisedFault("SPEC_REFUSED", sentence, { todo: "Ask for less in container.json, or add EC2 instances to the cluster." });
}

function steps(from: number, to: number, by: number): number[] {
  return Array.from({ length: (to - from) / by + 1 }, (_, at) => from + at * by);
}
