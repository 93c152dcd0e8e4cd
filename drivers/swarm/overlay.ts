import { advisedFault } from "../faults.ts";
import type { Engine } from "../engine/engine.ts";
import { answered } from "../engine/faults.ts";
import { Fault } from "../../lib/fault.ts";

/** Makes sure that the overlay network is there, whoever made it. Faults: SPEC_REFUSED where the name is another network's. */
export async function ensureOverlay(engine: Engine, network: string, signal: AbortSignal): Promise<void> {
  const doing = `Creating the overlay network ${network}`;
  try {
    const found = (await engine.call({ doing, signal }, (docker) => docker.getNetwork(network).inspect())) as { Driver?: string; Scope?: string };
    // Another, who was first, is making it: the engine knows its name, and nothing more of it yet.
    if ((found.Driver === "overlay" && found.Scope === "swarm") || found.Driver === "") return;
    const sentence = `The network ${network} is a ${found.Driver} network, and a swarm's services need an overlay: set BERTH_SWARM_NETWORK to another name`;
    throw advisedFault("SPEC_REFUSED", sentence);
  } catch (error) {
    if (!answered(error, 404)) throw error;
  }
  try {
    // Attachable, so that berth's own container can be put on it.
    const options = { Name: network, Driver: "overlay", Attachable: true, CheckDuplicate: true, Labels: { "berth.network": network } };
    await engine.call({ doing, signal }, (docker, abortSignal) => docker.createNetwork({ ...options, abortSignal }));
  } catch (raced) {
    if (!isNameTaken(raced)) throw raced;
  }
}

/** That somebody has made one of this name: 409, or where two were at it in the same moment, the store's own words in a 500. */
export function isNameTaken(error: unknown): boolean {
  return answered(error, 409) || (error instanceof Fault && /name conflicts with an existing object/.test(error.message));
}
