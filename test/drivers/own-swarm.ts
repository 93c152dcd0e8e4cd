import type { Test } from "tap";
import { openOwnEngine, type OwnEngine } from "../recovery/own-engine.ts";

/** A swarm of one node for one test alone: a real engine in a network of its own, which manages it. `gpus` are made up: a name is all that Swarm knows. */
export async function openOwnSwarm(t: Test, gpus: readonly string[] = []): Promise<OwnEngine> {
  const engine = await openOwnEngine(gpus.map((gpu) => `--node-generic-resource=${gpu}`));
  t.teardown(() => engine.close());
  await engine.docker.swarmInit({ AdvertiseAddr: engine.there, ListenAddr: `${engine.there}:2377` });
  return engine;
}
