import { Fault } from "../lib/fault.ts";
import type { Log } from "../lib/log.ts";
import { type Driver, type Spec, wrapDriver } from "./driver.ts";
import { advisedFault } from "./faults.ts";

/** What happens to a container that requests GPUs if no machine has them free: its start fails, or it starts without. */
export const GPU_POLICIES = ["require", "prefer"] as const;
export type GpuPolicy = (typeof GPU_POLICIES)[number];

const TODO =
  "Give a machine a GPU with its driver and the NVIDIA container toolkit, remove `gpu` from container.json, or set BERTH_GPU_POLICY=prefer to start without.";

/** No machine has the GPUs that a container requests. Its advice marks it, also after it came from another process. */
export function gpuFault(sentence: string, more: Omit<Parameters<typeof advisedFault>[2] & object, "todo"> = {}): Fault {
  return advisedFault("NO_CAPACITY", sentence, { ...more, todo: TODO });
}

export function isGpuFault(error: unknown): error is Fault {
  return error instanceof Fault && error.code === "NO_CAPACITY" && error.message.endsWith(TODO);
}

/** The policy `prefer`: a container whose GPUs are missing starts without, with a warning. */
export function preferGpu(driver: Driver, log: Log): Driver {
  return wrapDriver(driver, {
    deploy: async (spec, call) => {
      try {
        return await driver.deploy(spec, call);
      } catch (error) {
        if (spec.gpu === 0 || !isGpuFault(error)) throw error;
        call.signal.throwIfAborted();
        const { service, gpu } = spec;
        log.warn({ service, gpu, err: error }, "container starts without its GPU");
        const deployment = await driver.deploy({ ...spec, gpu: 0 }, call);
        return { ...deployment, warning: [missing(spec), deployment.warning].filter((one) => one !== undefined).join(" ") };
      }
    },
  });
}

function missing({ gpu }: Pick<Spec, "gpu">): string {
  return `It runs without the ${gpu === 1 ? "GPU" : `${gpu} GPUs`} that its container.json requests: no machine has ${gpu === 1 ? "one" : "them"} free.`;
}
