import type { Address, Observed, Call } from "../driver.ts";
import { type ContainerRoutes, REACH_RULES, type Reach, type REACHES } from "../engine/reach.ts";
import { parseLabels, readPort, OURS, isServiceName } from "../labels.ts";
import { type SwarmNode, type Service, type Task, type SwarmCluster, listNodes, currentTask, findService, listTasks, tasksOf } from "./cluster.ts";
import { parseReference } from "../image.ts";
import type { Engine } from "../engine/engine.ts";
import { answered } from "../engine/faults.ts";

/** The engine's word on a container of this machine: it knows of an end before the swarm does, and of memory as the swarm never does. */
export type LocalContainer = { running: boolean; code: number; outOfMemory: boolean };

/** What one look at a service takes; `bridged` is the container's address on this machine's own bridge. */
export type SeenTask = {
  service: Service;
  task: Task | undefined;
  local: LocalContainer | undefined;
  bridged: string | undefined;
  node: Pick<SwarmNode, "address"> | undefined;
};

/** How this driver sees tasks: from where, and on which machine the engine is. */
export type SwarmView = { standpoint: Standpoint; engineHost: string };

/** The contract's words for it; undefined for a service that is not ours. */
export function observe(view: SwarmView, seen: SeenTask): Observed | undefined {
  const { service, task, local } = seen;
  const labels = parseLabels(service.Spec?.Labels);
  const name = service.Spec?.Name;
  if (!labels || name === undefined) return undefined;
  const running = isRunning(seen);
  const address = running ? addressOf(view, seen) : undefined;
  const code = local?.code ?? task?.Status.ContainerStatus?.ExitCode;
  const ended = !running && task !== undefined && code !== undefined && hasEnded(task, local);
  return {
    service: name,
    labels,
    running,
    ...(task ? { instance: task.ID } : {}),
    ...(address ? { address } : {}),
    ...(ended ? { exit: { code, outOfMemory: local?.outOfMemory ?? false } } : {}),
  };
}

/** One that was scaled to nothing by hand is told to end. */
function isRunning({ task, local }: Pick<SeenTask, "task" | "local">): boolean {
  if (task === undefined || task.DesiredState !== "running") return false;
  return local ? local.running : task.Status.State === "running";
}

function hasEnded(task: Task, local: LocalContainer | undefined): boolean {
  if (["complete", "failed", "shutdown"].includes(task.Status.State)) return true;
  return local !== undefined && !local.running && task.Status.State === "running";
}

/** Where the task would be reached, by the way that its service was made for. */
export function addressOf(view: SwarmView, { service, task, bridged, node }: SeenTask): Address | undefined {
  const port = readPort(service.Spec?.Labels);
  const name = service.Spec?.Name;
  if (port === undefined || name === undefined) return undefined;
  const way = taskReachOf(view.standpoint, publishes(service));
  const hostPort = task?.Status.PortStatus?.Ports?.find(({ TargetPort }) => TargetPort === port)?.PublishedPort;
  // A manager on its own, or one that is not told better, knows itself by no address that leads anywhere.
  const known = node !== undefined && !/^(0\.0\.0\.0|127\..*|::1?|)$/.test(node.address);
  const ways: ContainerRoutes = { service: name, port, ip: way === "name" ? "by name" : bridged, hostPort };
  return REACH_RULES[way].address(ways, known ? node.address : view.engineHost);
}

export function publishes(service: Service): boolean {
  return (service.Spec?.EndpointSpec?.Ports?.length ?? 0) > 0;
}

/**
 * Where a service's task may run, as Swarm's own constraints: on nodes whose label `role` is the host's name, once any node has that label, and an image
 * that only this engine has, since it was built on it, here.
 */
export function constraintsFor(image: string, host: string, { self, nodes }: SwarmCluster): string[] {
  return [
    ...(nodes.some(({ labels }) => labels["role"] === host) ? [`node.labels.role==${host}`] : []),
    ...(parseReference(image).kind === "id" && nodes.length > 1 ? [`node.id==${self}`] : []),
  ];
}

/** What the nodes call their GPUs (`node-generic-resources`); `gpu` where none has any, so that the scheduler says so. */
export function gpuKind({ nodes }: Pick<SwarmCluster, "nodes">): string {
  return nodes.flatMap(({ resources }) => resources).find((kind) => /gpu/i.test(kind)) ?? "gpu";
}

/** How berth was told to reach tasks, and from where it does. */
export type Standpoint = { wished: (typeof REACHES)[number]; inContainer: boolean; elsewhere: boolean; platform: NodeJS.Platform };

/**
 * By name from a container, which can be on the overlay. From the machine itself only tasks of that machine have an address that leads there, so
 * with several nodes each task publishes a port on its own.
 */
export function chooseTaskReach({ wished, inContainer, elsewhere, platform }: Standpoint, { nodes }: Pick<SwarmCluster, "nodes">): Reach {
  if (wished !== "auto") return wished;
  if (inContainer) return "name";
  return elsewhere || platform !== "linux" || nodes.length > 1 ? "published" : "address";
}

/** The same of a service that is there: whether it publishes stands in its definition. */
export function taskReachOf({ wished, inContainer }: Standpoint, publishes: boolean): Reach {
  if (publishes) return "published";
  return wished === "name" || (wished === "auto" && inContainer) ? "name" : "address";
}

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
