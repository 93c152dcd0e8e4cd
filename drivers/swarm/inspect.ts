import type { Call, Observed } from "../driver.ts";
import type { Engine } from "../engine/engine.ts";
import { answered } from "../engine/faults.ts";
import { OURS } from "../labels.ts";
import { isServiceName } from "../service-name.ts";
import { listNodes } from "./cluster.ts";
import { type LocalContainer, observe, publishes, type SeenTask, type SwarmView } from "./observe.ts";
import { currentTask, findService, listTasks, type Service, type Task, tasksOf } from "./task.ts";
import { taskReachOf } from "./placement.ts";

/** A service that only has the name, but is not ours, does not exist for berth. */
export async function inspect(engine: Engine, view: SwarmView, service: string, { signal }: Call): Promise<Observed | undefined> {
  signal.throwIfAborted();
  if (!isServiceName(service)) return undefined;
  const found = await findService(engine, service, signal);
  if (found?.Spec?.Labels?.[OURS] === undefined) return undefined;
  const tasks = await tasksOf(engine, found.ID, signal);
  return tasks && observe(view, await look(engine, view, found, currentTask(tasks), signal));
}

export async function list(engine: Engine, view: SwarmView, { signal }: Call): Promise<Observed[]> {
  const services = await engine.call({ doing: "Listing services", signal }, (docker, abortSignal) =>
    docker.listServices({ filters: JSON.stringify({ label: [OURS] }), abortSignal }),
  );
  if (services.length === 0) return [];
  const tasks = Map.groupBy(await listTasks(engine, { label: [OURS] }, signal), ({ ServiceID }) => ServiceID);
  const observed: Observed[] = [];
  const shared = { ...(await surroundings(engine, view, services, signal)), running: await runningHere(engine, signal) };
  for (const service of services) {
    const task = currentTask(tasks.get(service.ID) ?? []);
    const one = observe(view, await look(engine, view, service, task, signal, shared));
    if (one) observed.push(one);
  }
  return observed;
}

const RUNS: LocalContainer = { running: true, code: 0, outOfMemory: false };

/** What is asked once for many services. */
type Surroundings = { bridged: Map<string, string>; addresses: Map<string, string>; running: ReadonlySet<string> };

/** All that there is to know of one service's task, ours or not. */
export async function look(
  engine: Engine,
  view: SwarmView,
  service: Service,
  task: Task | undefined,
  signal: AbortSignal | undefined,
  shared?: Surroundings,
): Promise<SeenTask> {
  const id = task?.Status.ContainerStatus?.ContainerID;
  const { bridged, addresses, running } = shared ?? (await surroundings(engine, view, [service], signal));
  const address = addresses.get(task?.NodeID ?? "");
  return {
    service,
    task,
    // Only its own inspect tells how a container ended; those that did are few.
    local: running.has(id ?? "") ? RUNS : id === undefined || id === "" ? undefined : await localContainer(engine, id, signal),
    bridged: bridged.get(id ?? ""),
    node: address === undefined ? undefined : { address },
  };
}

async function surroundings(engine: Engine, view: SwarmView, services: Service[], signal: AbortSignal | undefined): Promise<Surroundings> {
  const ways = new Set(services.map((service) => taskReachOf(view.standpoint, publishes(service))));
  const nodes = ways.has("published") ? await listNodes(engine, signal) : [];
  return {
    bridged: ways.has("address") ? await bridgeAddresses(engine, signal) : new Map(),
    // A machine that is spoken to over TCP is reached where it is spoken to, rather than at what it calls itself; of several, only the swarm knows.
    addresses: new Map(nodes.length === 1 && view.standpoint.elsewhere ? [] : nodes.map(({ id, address }) => [id, address])),
    running: new Set(),
  };
}

async function runningHere(engine: Engine, signal: AbortSignal): Promise<ReadonlySet<string>> {
  const found = await engine.call({ doing: "Listing containers", signal }, (docker, abortSignal) =>
    docker.listContainers({ filters: { label: [OURS] }, abortSignal }),
  );
  return new Set(found.map(({ Id }) => Id));
}

/** Undefined for a container of another machine. */
export async function localContainer(engine: Engine, id: string, signal: AbortSignal | undefined): Promise<LocalContainer | undefined> {
  try {
    const { State } = await engine.call({ doing: `Inspecting ${id}`, signal }, (docker, abortSignal) =>
      docker.getContainer(id).inspect({ abortSignal }),
    );
    // One that was made and not started has ended no more than it has begun.
    if (State.Status === "created") return undefined;
    return { running: State.Running, code: State.ExitCode, outOfMemory: State.OOMKilled };
  } catch (error) {
    if (answered(error, 404)) return undefined;
    throw error;
  }
}

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
