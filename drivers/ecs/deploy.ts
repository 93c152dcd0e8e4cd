import type { DeployCall, Deployment, Spec } from "../driver.ts";
import { createOrAdopt } from "./create.ts";
import { remove } from "./destroy.ts";
import { taskId } from "./observe.ts";
import { awaitRollout } from "./rollout.ts";
import type { EcsSite } from "./site.ts";
import type { DriverTimes } from "../../lib/start-phases.ts";

/** Create or adopt, then wait until it answers or has failed. */
export async function deploy(site: EcsSite, spec: Spec, call: DeployCall): Promise<Deployment> {
  const { clock, log } = site;
  const began = clock.monotonic();
  const begun = await createOrAdopt(site, spec, call.signal);
  try {
    call.signal.throwIfAborted();
    call.onLaunched?.();
    const { task, address, startedAt } = await awaitRollout(site, spec, begun, call);
    const pull = begun.adopted ? 0 : pullMs(task);
    const phases: DriverTimes = {
      ...(pull > 0 ? { pull } : {}),
      create: Math.max(startedAt - began - pull, 0),
      boot: clock.monotonic() - startedAt,
    };
    log.debug({ service: spec.service, adopted: begun.adopted, phases }, "Ready.");
    return { ...(address ? { address } : {}), instance: taskId(task), phases };
  } catch (error) {
    await remove(site, spec.service).catch((err: unknown) =>
      log.warn({ service: spec.service, err }, "Could not remove what is left of a failed start."),
    );
    throw error;
  }
}

function pullMs({ pullStartedAt, pullStoppedAt }: { pullStartedAt?: Date | undefined; pullStoppedAt?: Date | undefined }): number {
  return pullStartedAt && pullStoppedAt ? pullStoppedAt.getTime() - pullStartedAt.getTime() : 0;
}
