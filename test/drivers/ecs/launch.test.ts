import type { ContainerInstance } from "@aws-sdk/client-ecs";
import * as fc from "fast-check";
import t from "tap";
import { FARGATE_SIZES, fargateSize, findEc2Capacity } from "../../../drivers/ecs/launch.ts";
import { isFargateSize } from "./fargate-rules.ts";

const NEED = { cpu: 512, memoryMb: 1_024, gpu: 0, hostPorts: [], architecture: undefined };

type Free = { cpu?: number; memory?: number; gpus?: string[]; ports?: string[] };

/** As DescribeContainerInstances answers: https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ContainerInstance.html */
function instance({ cpu = 1_024, memory = 2_048, gpus = [], ports = ["22"] }: Free = {}, more: Partial<ContainerInstance> = {}): ContainerInstance {
  return {
    status: "ACTIVE",
    agentConnected: true,
    attributes: [{ name: "ecs.capability.task-eni" }],
    remainingResources: [
      { name: "CPU", type: "INTEGER", integerValue: cpu },
      { name: "MEMORY", type: "INTEGER", integerValue: memory },
      { name: "PORTS", type: "STRINGSET", stringSetValue: ports },
      { name: "GPU", type: "STRINGSET", stringSetValue: gpus },
    ],
    ...more,
  };
}

t.test("a task fits where one instance has all that is requested, to the last unit", async (t) => {
  t.strictSame(findEc2Capacity([instance()], NEED), { fits: true });
  t.strictSame(findEc2Capacity([instance({ cpu: 512, memory: 1_024 })], NEED), { fits: true });
  t.strictSame(findEc2Capacity([instance({ cpu: 0 }), instance({ gpus: ["gpu-1", "gpu-2"] })], { ...NEED, gpu: 2 }), { fits: true });
  t.strictSame(findEc2Capacity([instance({ ports: ["22", "8080"] })], { ...NEED, hostPorts: [8081] }), { fits: true });
});

t.test("a processor that the settings name is that of the instance", async (t) => {
  const graviton = instance({}, { attributes: [{ name: "ecs.capability.task-eni" }, { name: "ecs.cpu-architecture", value: "arm64" }] });
  t.strictSame(findEc2Capacity([graviton], { ...NEED, architecture: "arm64" }), { fits: true });
  t.strictSame(findEc2Capacity([graviton], NEED), { fits: true });
  t.match(findEc2Capacity([graviton], { ...NEED, architecture: "x86_64" }), { fits: false });
});

t.test("what one lacks, another does not make up for", async (t) => {
  t.equal(findEc2Capacity([instance({ cpu: 0, memory: 9_999 }), instance({ cpu: 9_999, memory: 0 })], NEED).fits, false);
});

t.test("where there is none, it says what is missing", async (t) => {
  const cases: [RegExp, ContainerInstance[], Partial<typeof NEED>?][] = [
    [/no EC2 instances/, []],
    [/CPU/, [instance({ cpu: 511 })]],
    [/memory/, [instance({ memory: 1_023 })]],
    [/GPUs/, [instance({ gpus: ["gpu-1"] })], { gpu: 2 }],
    [/ports/, [instance({ ports: ["22", "8080"] })], { hostPorts: [8080] } as never],
    [/agent/, [instance({}, { agentConnected: false })]],
    [/agent/, [instance({}, { status: "DRAINING" })]],
    [/task-eni/, [instance({}, { attributes: [] })]],
    [/BERTH_ECS_ARCHITECTURE/, [instance()], { architecture: "arm64" } as never],
    // Of several, the one that came furthest.
    [/memory/, [instance({ cpu: 0 }), instance({ memory: 0 })]],
  ];
  for (const [why, instances, need] of cases) t.match(findEc2Capacity(instances, { ...NEED, ...need }), { fits: false, why });
});

t.test("an instance that reports nothing has no capacity", async (t) => {
  t.equal(findEc2Capacity([{}], NEED).fits, false);
  t.equal(findEc2Capacity([{ status: "ACTIVE", agentConnected: true, attributes: [{ name: "ecs.capability.task-eni" }] }], NEED).fits, false);
});

/** All pairs that the developer guide's table has, found without the driver's own. */
const SOLD = [256, 512, 1024, 2048, 4096, 8192, 16384].flatMap((cpu) =>
  Array.from({ length: 240 }, (_, half) => (half + 1) * 512)
    .filter((memoryMb) => isFargateSize(cpu, memoryMb))
    .map((memoryMb) => ({ cpu, memoryMb })),
);

t.test("the table is Amazon's", async (t) => {
  t.strictSame(
    FARGATE_SIZES.flatMap(({ cpu, memoryMb }) => memoryMb.map((most) => ({ cpu, memoryMb: most }))),
    SOLD,
  );
});

t.test("from 0.25 to 16 CPU and 0.5 to 120 GB, the size fits and no smaller size on sale does", async (t) => {
  const cpu = fc.oneof(fc.double({ min: 0.25, max: 16, noNaN: true }), fc.constantFrom(0.25, 0.5, 1, 2, 4, 8, 16));
  const memoryMb = fc.oneof(fc.integer({ min: 512, max: 122_880 }), fc.constantFrom(512, 1_024, 30_720, 30_721, 61_440, 61_441, 122_880));
  const property = fc.property(cpu, memoryMb, (cpu, memoryMb) => {
    const fits = (size: { cpu: number; memoryMb: number }) => size.cpu >= cpu * 1024 && size.memoryMb >= memoryMb;
    const size = fargateSize({ cpu, memoryMb });
    const smaller = SOLD.filter((one) => fits(one) && (one.cpu < size.cpu || (one.cpu === size.cpu && one.memoryMb < size.memoryMb)));
    return isFargateSize(size.cpu, size.memoryMb) && fits(size) && smaller.length === 0;
  });
  t.doesNotThrow(() => fc.assert(property, { numRuns: 2_000 }));
});

t.test("less than the smallest is the smallest; memory may cost CPU, and CPU memory", async (t) => {
  t.strictSame(fargateSize({ cpu: 0.01, memoryMb: 10 }), { cpu: 256, memoryMb: 512 });
  t.strictSame(fargateSize({ cpu: 0.25, memoryMb: 2_049 }), { cpu: 512, memoryMb: 3_072 });
  t.strictSame(fargateSize({ cpu: 0.25, memoryMb: 30_721 }), { cpu: 8_192, memoryMb: 32_768 });
  t.strictSame(fargateSize({ cpu: 3, memoryMb: 512 }), { cpu: 4_096, memoryMb: 8_192 });
  t.strictSame(fargateSize({ cpu: 16, memoryMb: 122_880 }), { cpu: 16_384, memoryMb: 122_880 });
});

t.test("beyond the largest it names the requested and the available size", async (t) => {
  for (const requested of [
    { cpu: 16.01, memoryMb: 512 },
    { cpu: 1, memoryMb: 122_881 },
    { cpu: 32, memoryMb: 250_000 },
  ]) {
    t.throws(() => fargateSize(requested), {
      code: "SPEC_REFUSED",
      message: new RegExp(`${requested.cpu} CPU with ${requested.memoryMb} MB.*16 CPU`),
    });
  }
});
