import type { Deployment, Observed } from "../../drivers/driver.ts";
import type { Clock } from "../../lib/clock.ts";
import { Fault } from "../../lib/fault.ts";
import type { Container, ContainerPatch } from "../model/entities.ts";
import { ownedAddress } from "./address-ownership.ts";
import { type ConfirmDeps, confirmDeployment } from "./confirm-deployment.ts";
import type { Deploy } from "./deploy.ts";
import { type LifecycleLimits, startLimit } from "./limits.ts";
import { markLost, type MarkLostDeps } from "./mark-lost.ts";
import type { Moves } from "./moves.ts";

export type VerifyDeps = ConfirmDeps &
  MarkLostDeps & {
    moves: Pick<Moves, "container">;
    deploy: Deploy;
    clock: Pick<Clock, "now">;
    limits: LifecycleLimits;
  };

/** `observed`: as the orchestrator reported it; `ends`: how many ends were reported before that. */
type VerifyOptions = { observed: Observed; ends: number; signal: AbortSignal };

/** Takes the address that the orchestrator reported. */
export async function confirmAddress(deps: VerifyDeps, row: Container, { observed, ends, signal }: VerifyOptions): Promise<void> {
  const patch = { address: ownedAddress(observed.address, observed.instance), fault: undefined };
  await confirmDeployment(deps, row, observed, { ends, isNew: false, signal }, () =>
    deps.moves.container(row, "foundRunning", patch, { isFact: true }),
  );
}

/** Deploys what already runs, which verifies its address. True where that succeeded. */
export async function verifyAddress(deps: VerifyDeps, row: Container, { observed, ends, signal }: VerifyOptions): Promise<boolean> {
  const { store, moves, deploy, clock, limits } = deps;
  let deployment: Deployment;
  try {
    // From now on, not from the suspicion: a deploy that is late removes what runs, and the engine may have been away until now.
    deployment = await deploy({ ...row, since: clock.now() }, signal, Math.min(limits.checkMs, startLimit(limits)));
  } catch (error) {
    signal.throwIfAborted();
    const now = await store.containers.find(row.id);
    if (now?.state !== "CHECKING") return false;
    if (!(error instanceof Fault) || error.code === "ENGINE_UNREACHABLE") throw error;
    await markLost(deps, now, error);
    return false;
  }
  try {
    return await confirmDeployment(deps, row, deployment, { ends, isNew: false, signal }, async () => {
      if (observed.running && isReplaced(observed, deployment)) {
        const now = await store.containers.find(row.id);
        // An orchestrator may report an instance as running for a moment after its end; the deploy replaced it.
        if (now?.state === "CHECKING") await markLost(deps, now, replacedFault(row));
        return false;
      }
      await moves.container(row, "foundRunning", runningPatch(row, deployment), { isFact: true });
      return true;
    });
  } catch (error) {
    // Observed again: what ran a moment ago has ended.
    if (error instanceof Fault && error.code === "CONTAINER_CRASHED") return false;
    throw error;
  }
}

/** Of one in ERROR that was observed to run: an answer ends the error. False where it does not answer. */
export async function recoverContainer(
  { moves, deploy, clock, ...deps }: VerifyDeps,
  row: Container,
  { ends, signal }: Omit<VerifyOptions, "observed">,
): Promise<boolean> {
  try {
    const deployment = await deploy({ ...row, since: clock.now() }, signal);
    await confirmDeployment(deps, row, deployment, { ends, isNew: false, signal }, () =>
      moves.container(row, "foundRunning", runningPatch(row, deployment), { isFact: true }),
    );
    return true;
  } catch (error) {
    signal.throwIfAborted();
    if (!(error instanceof Fault)) throw error;
    return (await deps.store.containers.find(row.id))?.state !== "ERROR";
  }
}

function runningPatch({ generation }: Container, { address, instance }: Deployment): ContainerPatch {
  return { address: ownedAddress(address, instance), runningGeneration: generation, fault: undefined };
}

function isReplaced(before: Observed, { instance }: Deployment): boolean {
  return before.instance !== undefined && instance !== undefined && before.instance !== instance;
}

function replacedFault({ name }: Container): Fault {
  return new Fault("CONTAINER_CRASHED", `The container ${name} ended. The engine reported it as running until it was replaced.`);
}
