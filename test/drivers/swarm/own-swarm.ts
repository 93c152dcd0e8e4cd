import type { Test } from "tap";
import { openOwnEngine, type OwnEngine } from "../../program/recovery/own-engine.ts";
import { joinNetworks } from "../../program/recovery/own-network.ts";

/** A swarm of one node for one test alone: a real engine in a network of its own, which manages it. `gpus` are made up: a name is all that Swarm knows. */
export async function openOwnSwarm(t: Test, gpus: readonly string[] = []): Promise<OwnEngine> {
  const engine = await openOwnEngine(gpus.map((gpu) => `--node-generic-resource=${gpu}`));
  t.teardown(() => engine.close());
  await engine.docker.swarmInit({ AdvertiseAddr: engine.there, ListenAddr: `${engine.there}:2377` });
  return engine;
}

/** A swarm of two nodes, with a cable between their networks: a manager, and a worker whose label `role` is `cvm`. */
export async function openTwoNodes(t: Test): Promise<{ manager: OwnEngine; worker: OwnEngine }> {
  const manager = await openOwnEngine();
  t.teardown(() => manager.close());
  const worker = await openOwnEngine([`--insecure-registry=${manager.here}/32`], 1);
  t.teardown(() => worker.close());
  const ends = joinNetworks(manager.network, worker.network);
  await manager.docker.swarmInit({ AdvertiseAddr: ends.first, ListenAddr: `${ends.first}:2377` });
  const { JoinTokens } = (await manager.docker.swarmInspect()) as { JoinTokens: { Worker: string } };
  const joining = {
    AdvertiseAddr: ends.second,
    ListenAddr: `${ends.second}:2377`,
    RemoteAddrs: [`${ends.first}:2377`],
    JoinToken: JoinTokens.Worker,
  };
  await worker.docker.swarmJoin(joining);
  type Node = { ID: string; Spec: { Role: string }; Version: { Index: number } };
  const nodes = (await manager.docker.listNodes()) as Node[];
  const joined = nodes.find(({ Spec }) => Spec.Role === "worker");
  if (!joined) throw new Error("The second node did not join.");
  const labelled = { ...joined.Spec, Labels: { role: "cvm" } };
  await manager.docker.getNode(joined.ID).update({ _query: { version: joined.Version.Index }, _body: labelled });
  return { manager, worker };
}
