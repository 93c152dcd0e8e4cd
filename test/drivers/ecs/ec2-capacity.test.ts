import type { ContainerInstance } from "@aws-sdk/client-ecs";
import t from "tap";
import { findEc2Capacity } from "../../../drivers/ecs/ec2-capacity.ts";

const NEED = { cpu: 512, memoryMb: 1_024, gpu: 0, hostPorts: [] };

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

t.test("there is room where one instance has all that is asked for, to the last unit", async (t) => {
  t.strictSame(findEc2Capacity([instance()], NEED), { fits: true });
  t.strictSame(findEc2Capacity([instance({ cpu: 512, memory: 1_024 })], NEED), { fits: true });
  t.strictSame(findEc2Capacity([instance({ cpu: 0 }), instance({ gpus: ["gpu-1", "gpu-2"] })], { ...NEED, gpu: 2 }), { fits: true });
  t.strictSame(findEc2Capacity([instance({ ports: ["22", "8080"] })], { ...NEED, hostPorts: [8081] }), { fits: true });
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
    // Of several, the one that came furthest.
    [/memory/, [instance({ cpu: 0 }), instance({ memory: 0 })]],
  ];
  for (const [why, instances, need] of cases) t.match(findEc2Capacity(instances, { ...NEED, ...need }), { fits: false, why });
});

t.test("an instance that says nothing of itself has no room", async (t) => {
  t.equal(findEc2Capacity([{}], NEED).fits, false);
  t.equal(findEc2Capacity([{ status: "ACTIVE", agentConnected: true, attributes: [{ name: "ecs.capability.task-eni" }] }], NEED).fits, false);
});
