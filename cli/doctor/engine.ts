import { findNetwork } from "../../drivers/docker/bridge-network.ts";
import { findContainer, listLines } from "../../drivers/docker/observe.ts";
import { type Engine, openEngine } from "../../drivers/engine/engine.ts";
import { answered } from "../../drivers/engine/faults.ts";
import { DEFAULT_NETWORKS } from "../../drivers/engine/reach.ts";
import { chooseOnEngine } from "../../drivers/open.ts";
import { isManager, readCluster } from "../../drivers/swarm/cluster.ts";
import { Fault } from "../../lib/fault.ts";
import { engineAt } from "../../processes/open-driver.ts";
import { type CheckContext, type CheckProblem, type CheckResult, failure, warning } from "./check.ts";

const ASK_MS = 10_000;

/** Advice by Node's error code for a socket. */
const SOCKET_ADVICE: Readonly<Record<string, string>> = {
  EACCES: "Add berth's user to the group of the socket (usually `docker`), and run this as that user.",
  ENOENT: "Start the engine, or set DOCKER_HOST to its socket; in a container, mount it.",
  ECONNREFUSED: "Start the engine: its socket exists, but no process listens.",
};

/** A Docker engine: access, whether it manages a Swarm, and the containers' network. */
export async function checkEngine(configured: "docker" | "swarm" | "ask", chain: CheckContext, signal: AbortSignal): Promise<CheckResult> {
  const { settings, clock, shared } = chain;
  const engine = openEngine(engineAt(settings), clock);
  try {
    const managesSwarm = await isManager(engine, signal, ASK_MS);
    const driver = configured === "ask" ? chooseOnEngine({ managesSwarm }) : configured;
    shared.driver = driver as "docker" | "swarm";
    const nodes = driver === "swarm" ? (await readCluster(engine, signal)).nodes : [];
    shared.nodes = nodes.length;
    const away = nodes.filter(({ ready }) => !ready);
    const { Version } = await engine.call({ doing: "Asking the engine for its version", signal, ms: ASK_MS }, (docker) => docker.version());
    const swarm = driver === "swarm";
    const network = swarm
      ? await checkOverlay(engine, settings.swarmNetwork ?? DEFAULT_NETWORKS.swarm, signal)
      : await checkBridge(engine, settings, signal);
    return {
      says: `${driver}, engine ${Version}${nodes.length > 0 ? `, ${nodes.length} nodes` : ""}, ${network.says}`,
      problems: [
        ...network.problems,
        ...away.map(({ address, id }) => warning(`The swarm's node ${address || id} is not ready.`, "See `docker node ls` on a manager.")),
      ],
    };
  } catch (error) {
    const code = error instanceof Fault ? (error.cause as { code?: unknown } | undefined)?.code : undefined;
    const todo = typeof code === "string" ? SOCKET_ADVICE[code] : undefined;
    if (todo === undefined || !(error instanceof Fault)) throw error;
    return { says: "", problems: [failure(error.message, todo)] };
  } finally {
    engine.close();
  }
}

type NetworkFinding = { says: string; problems: CheckProblem[] };

const SEPARATE_NETWORKS = "Every author of a package can call the containers of all others without berth";

/** Services of a Swarm share one overlay, also those of different authors. */
async function checkOverlay(engine: Engine, name: string, signal: AbortSignal): Promise<NetworkFinding> {
  const together = warning(
    `Containers on the overlay ${name} reach each other. ${SEPARATE_NETWORKS}.`,
    "Only users who trust each other should publish: docs/drivers/swarm.md.",
  );
  try {
    const doing = `Looking at the network ${name}`;
    const { Driver } = (await engine.call({ doing, signal }, (docker) => docker.getNetwork(name).inspect())) as { Driver?: string };
    if (Driver === "overlay") return { says: `network ${name}`, problems: [together] };
    const what = `The network ${name} is a ${Driver} network, and a swarm's services need an overlay.`;
    return { says: "", problems: [failure(what, "Set BERTH_SWARM_NETWORK to another name.")] };
  } catch (error) {
    if (!answered(error, 404)) throw error;
    return { says: `network ${name}, which the first start creates`, problems: [together] };
  }
}

/** Whether containers can reach each other. berth isolates containers on its own networks. */
async function checkBridge(engine: Engine, settings: CheckContext["settings"], signal: AbortSignal): Promise<NetworkFinding> {
  const name = settings.dockerNetwork ?? DEFAULT_NETWORKS.docker;
  const network = await findNetwork(engine, name, signal);
  const problems: CheckProblem[] = [];
  if (network && !network.ours) {
    const todo = "Set BERTH_DOCKER_NETWORK to a new name: berth creates that network and isolates its containers.";
    problems.push(warning(`berth did not make the network ${name}, so containers on it reach each other. ${SEPARATE_NETWORKS}.`, todo));
  } else if (network && !network.isolated && network.members.size > 0) {
    const todo = "Stop all containers once: berth creates the network again with the next start.";
    problems.push(warning(`An older berth made the network ${name}: its ${network.members.size} containers reach each other.`, todo));
  }
  const unbounded = await unlimited(engine, signal);
  if (unbounded.length > 0) {
    const todo = "Stop and start them once: each start sets the current limits.";
    problems.push(
      warning(`${unbounded.length} containers were started by an older berth, without its limits: ${unbounded.slice(0, 5).join(", ")}.`, todo),
    );
  }
  return { says: network ? `network ${name}` : `network ${name}, which berth creates when needed`, problems };
}

const MAX_INSPECTED = 50;

/** berth's running containers without a process limit, among the first fifty. */
async function unlimited(engine: Engine, signal: AbortSignal): Promise<string[]> {
  const lines = (await listLines(engine, signal)).filter(({ State }) => State === "running").slice(0, MAX_INSPECTED);
  const all = await Promise.all(lines.map(({ Id }) => findContainer(engine, Id, signal)));
  return all.flatMap((one) => (one && !((one.HostConfig.PidsLimit ?? 0) > 0) ? [one.Name.replace(/^\//, "")] : []));
}
