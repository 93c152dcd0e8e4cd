import type { Call } from "../driver.ts";
import type { Engine } from "../engine/engine.ts";
import { OURS } from "../labels.ts";

/** The label that the engine gives to containers of a service. */
const OF_SERVICE = "com.docker.swarm.service.id";

/** Names of containers that berth has started on the engine itself, as the driver `docker` does: this driver neither sees nor ends them. */
export async function leftOnEngine(engine: Engine, { signal }: Call): Promise<string[]> {
  const found = await engine.call({ doing: "Listing containers", signal }, (docker, abortSignal) =>
    docker.listContainers({ all: true, filters: { label: [OURS] }, abortSignal }),
  );
  return found.filter(({ Labels }) => Labels[OF_SERVICE] === undefined).flatMap(({ Names }) => Names[0]?.replace(/^\//, "") ?? []);
}
