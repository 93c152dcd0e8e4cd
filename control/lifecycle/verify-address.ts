import type { Deployment, Observed } from "../../drivers/driver.ts";
import { Fault } from "../../lib/fault.ts";
import type { Container } from "../model/entities.ts";
import { confirmDeployment, ownedAddress } from "./confirm-deployment.ts";
import { isReplaceable, observe, redefine } from "./keep-container.ts";
import { startLimit } from "./limits.ts";
import { markLost, markLostAsObserved } from "./mark-lost.ts";
import { moveContainer } from "./moves.ts";
import { deploy } from "./start-container.ts";
import type { Step } from "./rooms.ts";

/** Its address is in doubt. Where it does not run, it is lost; where it does, deploying what already runs verifies the address. */
export const check: Step = async (rooms, row, signal) => {
  const ends = rooms.endCounts.count(row.id);
  const fact = await observe(rooms, row, signal);
  const goesOn = fact?.running || (fact?.paused && fact.labels.generation === row.generation);
  if (!fact || !goesOn) return markLostAsObserved(rooms, row, fact, signal);
  const now = rooms.store.containers.find(row.id);
  if (now?.state !== "CHECKING") return "moved";
  if (fact.labels.generation !== now.generation) {
    if (isReplaceable(rooms, now)) return redefine(rooms, now);
    // Deploying would replace what may not be replaced yet, so the engine's word is taken for its address.
    await confirmDeployment(rooms, now, fact, { ends, isNew: false, signal });
    moveContainer(rooms, now, "foundRunning", { address: ownedAddress(fact.address, fact.instance), fault: undefined });
    return "rest";
  }
  let deployment: Deployment;
  try {
    // From now on, not from the doubt: a deploy that is late takes away what runs, and the engine may have been away until now.
    deployment = await deploy(rooms, { ...now, since: rooms.clock.now() }, signal, Math.min(rooms.limits.checkMs, startLimit(rooms.limits)));
  } catch (error) {
    signal.throwIfAborted();
    const then = rooms.store.containers.find(row.id);
    if (then?.state !== "CHECKING") return "moved";
    if (!(error instanceof Fault) || error.code === "ENGINE_UNREACHABLE") throw error;
    return markLost(rooms, then, error);
  }
  try {
    await confirmDeployment(rooms, now, deployment, { ends, isNew: false, signal });
  } catch (error) {
    // Looked at again: what was found a moment ago has ended.
    if (error instanceof Fault && error.code === "CONTAINER_CRASHED") return "moved";
    throw error;
  }
  if (fact.running && isReplaced(fact, deployment)) {
    const latest = rooms.store.containers.find(row.id);
    // An orchestrator may report an instance as running for a moment after its end; the deploy replaced it.
    return latest?.state === "CHECKING" ? markLost(rooms, latest, replaced(row)) : "moved";
  }
  const address = ownedAddress(deployment.address, deployment.instance);
  moveContainer(rooms, now, "foundRunning", { address, runningGeneration: now.generation, fault: undefined });
  // Not at once: a driver that names one address at a deploy and another at an inspect would have us turn in circles.
  return { lookInMs: rooms.limits.sweepMs };
};

function isReplaced(before: Observed, { instance }: Deployment): boolean {
  return before.instance !== undefined && instance !== undefined && before.instance !== instance;
}

function replaced({ name }: Container): Fault {
  return new Fault("CONTAINER_CRASHED", `The container ${name} ended. The engine reported it as running until it was replaced.`);
}
