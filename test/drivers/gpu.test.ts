import t from "tap";
import { gpuFault, isGpuFault, preferGpu } from "../../drivers/gpu.ts";
import { advisedFault } from "../../drivers/faults.ts";
import type { Driver, Spec } from "../../drivers/driver.ts";
import { deploymentOff, deploymentOnWire, faultOff } from "../../drivers/spawner/wire.ts";
import { Fault } from "../../lib/fault.ts";
import { openLog } from "../../lib/log.ts";

const log = openLog({ level: "silent", name: "test" });
const call = { signal: new AbortController().signal };

t.test("a missing GPU differs from other shortages, also after it passed through a spawner", async (t) => {
  t.ok(isGpuFault(gpuFault("x requests 1 GPU, and no machine has one")));
  t.ok(isGpuFault(faultOff(gpuFault("x requests 1 GPU").toJSON())));
  t.notOk(isGpuFault(advisedFault("NO_CAPACITY", "x: no memory is left")));
  t.notOk(isGpuFault(new Error("no GPU")));
});

t.test("only a container that requests GPUs starts again without, and only if they are what is missing", async (t) => {
  const deployed: number[] = [];
  let fault: Fault = gpuFault("no GPU");
  const driver = {
    name: "docker",
    deploy: async ({ gpu }: Spec) => {
      deployed.push(gpu);
      if (gpu > 0 || fault.code !== "NO_CAPACITY") throw fault;
      return { addresses: [], phases: { create: 1, boot: 1 }, warning: "It is slow." };
    },
  } as unknown as Driver;
  const preferring = preferGpu(driver, log);
  const started = await preferring.deploy({ gpu: 2 } as Spec, call);
  t.equal(started.warning, "It runs without the 2 GPUs that its container.json requests: no machine has them free. It is slow.");
  t.equal(deploymentOff(JSON.parse(JSON.stringify(deploymentOnWire("x", started)))).warning, started.warning, "a spawner passes it on");
  t.equal((await preferring.deploy({ gpu: 0 } as Spec, call)).warning, "It is slow.");
  fault = new Fault("CONTAINER_CRASHED", "It ended.");
  await t.rejects(preferring.deploy({ gpu: 1 } as Spec, call), { code: "CONTAINER_CRASHED" });
  t.same(deployed, [2, 0, 0, 1]);
});
