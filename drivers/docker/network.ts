import type { Engine } from "../engine/engine.ts";
import { answered } from "../engine/faults.ts";

/** Makes sure that the bridge network is there, whoever made it. */
export async function ensureNetwork(engine: Engine, network: string, signal: AbortSignal): Promise<void> {
  const doing = `Creating the network ${network}`;
  try {
    await engine.call({ doing, signal }, (docker) => docker.getNetwork(network).inspect());
  } catch (error) {
    if (!answered(error, 404)) throw error;
    try {
      // `CheckDuplicate` makes the engine refuse the second of two creators, also engines that would otherwise make two.
      const options = { Name: network, Driver: "bridge", CheckDuplicate: true, Labels: { "berth.network": network } };
      await engine.call({ doing, signal }, (docker, abortSignal) => docker.createNetwork({ ...options, abortSignal }));
    } catch (raced) {
      if (!answered(raced, 409)) throw raced;
    }
  }
}
