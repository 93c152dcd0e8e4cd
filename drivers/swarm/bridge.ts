import type { Engine } from "../engine/engine.ts";
import { answered } from "../engine/faults.ts";

/** The bridge by which containers on overlays reach out of their machine, and on which that machine reaches them. */
const GATEWAY_BRIDGE = "docker_gwbridge";

/** The addresses on it of all containers of the engine's machine, by container id. A container's own inspect does not show them. */
export async function bridgeAddresses(engine: Engine, signal: AbortSignal | undefined): Promise<Map<string, string>> {
  try {
    const found = (await engine.call({ doing: `Inspecting ${GATEWAY_BRIDGE}`, signal }, (docker) => docker.getNetwork(GATEWAY_BRIDGE).inspect())) as {
      Containers?: Record<string, { IPv4Address?: string }>;
    };
    return new Map(
      Object.entries(found.Containers ?? {}).flatMap(([id, { IPv4Address }]): [string, string][] =>
        IPv4Address ? [[id, IPv4Address.replace(/\/\d+$/, "")]] : [],
      ),
    );
  } catch (error) {
    // Made with the first task on an overlay.
    if (answered(error, 404)) return new Map();
    throw error;
  }
}
