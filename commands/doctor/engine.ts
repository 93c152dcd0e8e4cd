import { Fault } from "../../fault.ts";
import { chooseOnEngine } from "../../drivers/choose.ts";
import { type Engine, openEngine } from "../../drivers/engine/engine.ts";
import { answered } from "../../drivers/engine/faults.ts";
import { isManager, readCluster } from "../../drivers/swarm/cluster.ts";
import { engineAt } from "../../roles/open-driver.ts";
import type { Chain } from "./chain.ts";
import { type Finding, type Problem, warning, wrong } from "./finding.ts";

const ASK_MS = 10_000;

/** Why a socket did not let us in, by Node's word. */
const NO_ENTRY: Readonly<Record<string, string>> = {
  EACCES: "Put berth's user into the group that owns the socket (`docker`, mostly), and run this as that user.",
  ENOENT: "Start the engine, or name its socket by DOCKER_HOST; in a container, mount it.",
  ECONNREFUSED: "Start the engine: its socket is there, and nobody listens.",
};

/** A Docker engine: who may ask it, whether it manages a swarm, and the network that containers share. */
export async function checkEngine(wished: "docker" | "swarm" | "ask", chain: Chain, signal: AbortSignal): Promise<Finding> {
  const { settings, clock, found } = chain;
  const engine = openEngine(engineAt(settings), clock);
  try {
    const managesSwarm = await isManager(engine, signal, ASK_MS);
    const driver = wished === "ask" ? chooseOnEngine({ managesSwarm }) : wished;
    found.driver = driver as "docker" | "swarm";
    const nodes = driver === "swarm" ? (await readCluster(engine, signal)).nodes : [];
    found.nodes = nodes.length;
    const away = nodes.filter(({ ready }) => !ready);
    const { Version } = await engine.call({ doing: "Asking the engine for its version", signal, ms: ASK_MS }, (docker) => docker.version());
    const network = await lookAtNetwork(engine, driver === "swarm" ? settings.swarmNetwork : settings.dockerNetwork, driver === "swarm", signal);
    return {
      says: `${driver}, engine ${Version}${nodes.length > 0 ? `, ${nodes.length} nodes` : ""}, ${network.says}`,
      problems: [
        ...network.problems,
        ...away.map(({ address, id }) => warning(`The swarm's node ${address || id} is not ready.`, "See `docker node ls` on a manager.")),
      ],
    };
  } catch (error) {
    const code = error instanceof Fault ? (error.cause as { code?: unknown } | undefined)?.code : undefined;
    const todo = typeof code === "string" ? NO_ENTRY[code] : undefined;
    if (todo === undefined || !(error instanceof Fault)) throw error;
    return { says: "", problems: [wrong(error.message, todo)] };
  } finally {
    engine.close();
  }
}

async function lookAtNetwork(engine: Engine, name: string, overlay: boolean, signal: AbortSignal): Promise<{ says: string; problems: Problem[] }> {
  try {
    const { Driver } = (await engine.call({ doing: `Looking at the network ${name}`, signal }, (docker) => docker.getNetwork(name).inspect())) as {
      Driver?: string;
    };
    if (!overlay || Driver === "overlay") return { says: `network ${name}`, problems: [] };
    const what = `The network ${name} is a ${Driver} network, and a swarm's services need an overlay.`;
    return { says: "", problems: [wrong(what, "Set BERTH_SWARM_NETWORK to another name.")] };
  } catch (error) {
    if (!answered(error, 404)) throw error;
    return { says: `network ${name}, made with the first start`, problems: [] };
  }
}
