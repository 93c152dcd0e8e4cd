import type { Log } from "../../lib/log.ts";
import type { Address, Call, DriverEvent, Observed } from "../driver.ts";
import { listContainers } from "../engine/containers.ts";
import type { Engine } from "../engine/engine.ts";
import { undefinedOn } from "../engine/faults.ts";
import { type ContainerRoutes, type Reach, REACH_RULES, type REACHES } from "../engine/reach.ts";
import { type EngineEvent, eventStream, STATE_EVENTS } from "../engine/streams.ts";
import { OURS, parseLabels, readPort } from "../labels.ts";
import {
  currentTask,
  findOwnService,
  findService,
  listNodes,
  listTasks,
  type Service,
  type SwarmCluster,
  type SwarmNode,
  type Task,
  tasksOf,
} from "./cluster.ts";

/** A container on this machine: its engine notices its end before the swarm does, and has the out-of-memory flag that the swarm lacks. */
type LocalContainer = { running: boolean; code: number; outOfMemory: boolean };

/** Everything about the task of one service. `bridged` is the container's address on this machine's bridge. */
export type TaskDetails = {
  service: Service;
  task: Task | undefined;
  local: LocalContainer | undefined;
  bridged: string | undefined;
  node: Pick<SwarmNode, "address"> | undefined;
};

/** From where berth reaches tasks, and on which machine the engine is. */
export type SwarmView = { standpoint: Standpoint; engineHost: string };

/** Undefined for a service that berth did not create. */
export function observe(view: SwarmView, details: TaskDetails): Observed | undefined {
  const { service, task, local } = details;
  const labels = parseLabels(service.Spec?.Labels);
  const name = service.Spec?.Name;
  if (!labels || name === undefined) return undefined;
  const running = isRunning(details);
  const address = running ? addressOf(view, details) : undefined;
  const code = local?.code ?? task?.Status.ContainerStatus?.ExitCode;
  const ended = !running && task !== undefined && code !== undefined && hasEnded(task, local);
  return {
    service: name,
    labels,
    running,
    ...(task ? { instance: task.ID } : {}),
    addresses: address ? [address] : [],
    ...(ended ? { exit: { code, outOfMemory: local?.outOfMemory ?? false } } : {}),
  };
}

/** A service that a user has scaled to 0 has another desired state. */
function isRunning({ task, local }: Pick<TaskDetails, "task" | "local">): boolean {
  if (task === undefined || task.DesiredState !== "running") return false;
  return local ? local.running : task.Status.State === "running";
}

function hasEnded(task: Task, local: LocalContainer | undefined): boolean {
  if (["complete", "failed", "shutdown"].includes(task.Status.State)) return true;
  return local !== undefined && !local.running && task.Status.State === "running";
}

/** The address of a task's port, by the reach that its service was created for. */
export function addressOf(view: SwarmView, details: TaskDetails, port = readPort(details.service.Spec?.Labels)): Address | undefined {
  const { service, task, bridged, node } = details;
  const name = service.Spec?.Name;
  if (port === undefined || name === undefined) return undefined;
  const way = taskReachOf(view.standpoint, publishes(service));
  const hostPort = task?.Status.PortStatus?.Ports?.find(({ TargetPort }) => TargetPort === port)?.PublishedPort;
  // A single manager may report an unusable address of itself.
  const isUsable = node !== undefined && !/^(0\.0\.0\.0|127\..*|::1?|)$/.test(node.address);
  const ways: ContainerRoutes = { service: name, port, ip: way === "name" ? "by name" : bridged, hostPort };
  return REACH_RULES[way].address(ways, isUsable ? node.address : view.engineHost);
}

export function publishes(service: Service): boolean {
  return (service.Spec?.EndpointSpec?.Ports?.length ?? 0) > 0;
}

/** The setting of the reach, and from where berth reaches tasks. */
export type Standpoint = { setting: (typeof REACHES)[number]; inContainer: boolean; elsewhere: boolean; platform: NodeJS.Platform };

/**
 * By name from a container, which can join the overlay. A machine reaches only the addresses of its own tasks, so with several nodes each task publishes a
 * port on its node.
 */
export function chooseTaskReach({ setting, inContainer, elsewhere, platform }: Standpoint, { nodes }: Pick<SwarmCluster, "nodes">): Reach {
  if (setting !== "auto") return setting;
  if (inContainer) return "name";
  return elsewhere || platform !== "linux" || nodes.length > 1 ? "published" : "address";
}

/** The reach of an existing service: its definition shows whether it publishes a port. */
export function taskReachOf({ setting, inContainer }: Standpoint, publishes: boolean): Reach {
  if (publishes) return "published";
  return setting === "name" || (setting === "auto" && inContainer) ? "name" : "address";
}

/** A service with this name that berth did not create does not count. */
export async function inspect(engine: Engine, view: SwarmView, service: string, { signal }: Call): Promise<Observed | undefined> {
  signal.throwIfAborted();
  const holder = await findOwnService(engine, service, signal);
  const tasks = holder && (await tasksOf(engine, holder.ID, signal));
  return tasks && observe(view, await readTaskDetails(engine, view, holder, currentTask(tasks), signal));
}

export async function list(engine: Engine, view: SwarmView, { signal }: Call): Promise<Observed[]> {
  const services = await engine.call({ doing: "Listing services", signal }, (docker, abortSignal) =>
    docker.listServices({ filters: JSON.stringify({ label: [OURS] }), abortSignal }),
  );
  if (services.length === 0) return [];
  const tasks = Map.groupBy(await listTasks(engine, { label: [OURS] }, signal), ({ ServiceID }) => ServiceID);
  const observed: Observed[] = [];
  const shared = { ...(await readEngineState(engine, view, services, signal)), running: await runningHere(engine, signal) };
  for (const service of services) {
    const task = currentTask(tasks.get(service.ID) ?? []);
    const one = observe(view, await readTaskDetails(engine, view, service, task, signal, shared));
    if (one) observed.push(one);
  }
  return observed;
}

const RUNS: LocalContainer = { running: true, code: 0, outOfMemory: false };

/** Queried once for many services. */
type EngineState = { bridged: Map<string, string>; addresses: Map<string, string>; running: ReadonlySet<string> };

/** The details of one service's task, created by berth or not. */
export async function readTaskDetails(
  engine: Engine,
  view: SwarmView,
  service: Service,
  task: Task | undefined,
  signal: AbortSignal | undefined,
  shared?: EngineState,
): Promise<TaskDetails> {
  const id = task?.Status.ContainerStatus?.ContainerID;
  const { bridged, addresses, running } = shared ?? (await readEngineState(engine, view, [service], signal));
  const address = addresses.get(task?.NodeID ?? "");
  return {
    service,
    task,
    // Only its own inspect has the exit code; few containers have ended.
    local: running.has(id ?? "") ? RUNS : id === undefined || id === "" ? undefined : await localContainer(engine, id, signal),
    bridged: bridged.get(id ?? ""),
    node: address === undefined ? undefined : { address },
  };
}

async function readEngineState(engine: Engine, view: SwarmView, services: Service[], signal: AbortSignal | undefined): Promise<EngineState> {
  const ways = new Set(services.map((service) => taskReachOf(view.standpoint, publishes(service))));
  const nodes = ways.has("published") ? await listNodes(engine, signal) : [];
  return {
    bridged: ways.has("address") ? await bridgeAddresses(engine, signal) : new Map(),
    // A single remote machine is reached at the host of its engine, not at its own name of itself. The addresses of several come from the swarm.
    addresses: new Map(nodes.length === 1 && view.standpoint.elsewhere ? [] : nodes.map(({ id, address }) => [id, address])),
    running: new Set(),
  };
}

async function runningHere(engine: Engine, signal: AbortSignal): Promise<ReadonlySet<string>> {
  const containers = await listContainers(engine, { label: OURS, all: false }, signal);
  return new Set(containers.map(({ Id }) => Id));
}

/** Undefined for a container of another machine. */
export async function localContainer(engine: Engine, id: string, signal: AbortSignal | undefined): Promise<LocalContainer | undefined> {
  const container = await undefinedOn([404], () =>
    engine.call({ doing: `Inspecting ${id}`, signal }, (docker, abortSignal) => docker.getContainer(id).inspect({ abortSignal })),
  );
  // A created container has neither begun nor ended.
  if (container === undefined || container.State.Status === "created") return undefined;
  const { Running: running, ExitCode: code, OOMKilled: outOfMemory } = container.State;
  return { running, code, outOfMemory };
}

/** The bridge that connects containers on overlays with their machine. */
const GATEWAY_BRIDGE = "docker_gwbridge";

/** The addresses on the bridge of all containers of the engine's machine, by container id. A container's own inspect does not have them. */
async function bridgeAddresses(engine: Engine, signal: AbortSignal | undefined): Promise<Map<string, string>> {
  // Docker creates it with the first task on an overlay.
  const bridge = (await undefinedOn([404], () =>
    engine.call({ doing: `Inspecting ${GATEWAY_BRIDGE}`, signal }, (docker) => docker.getNetwork(GATEWAY_BRIDGE).inspect()),
  )) as { Containers?: Record<string, { IPv4Address?: string }> } | undefined;
  return new Map(
    Object.entries(bridge?.Containers ?? {}).flatMap(([id, { IPv4Address }]): [string, string][] =>
      IPv4Address ? [[id, IPv4Address.replace(/\/\d+$/, "")]] : [],
    ),
  );
}

/** The label that the engine gives to a service's containers. */
const SERVICE_NAME = "com.docker.swarm.service.name";
const TASK_ID = "com.docker.swarm.task.id";

/** Events after which the address of a container or a service may be another's. */
const ENDING: ReadonlySet<string | undefined> = new Set(["kill", "stop", "die", "destroy", "remove"]);

/**
 * The events of the manager: of all services, and of containers on its own machine. It does not report the end of a container on another node, which the
 * next `inspect` or `list` shows. An instance is a task, by its id.
 */
export async function* events(engine: Engine, log: Log, call: Call): AsyncGenerator<DriverEvent> {
  // A service's event has no labels, and a removed service cannot be inspected: this keeps the owners of existing services.
  const owners = new Map<string, string>();
  // Without a filter by label, which would drop the services' own events.
  const filters = { type: ["container", "service"], event: [...STATE_EVENTS, "kill", "stop", "update", "remove"] };
  for await (const event of eventStream(engine, filters, log, call)) {
    if (event === "disconnected") {
      yield { kind: "disconnected" };
      continue;
    }
    if (event === "connected") {
      await loadOwners(engine, owners, call).catch(() => {});
      yield { kind: "connected" };
      continue;
    }
    const named = event.Type === "service" ? await ofService(engine, owners, event, call).catch(() => undefined) : ofContainer(event);
    const instance = event.Actor?.Attributes?.[TASK_ID];
    if (named) yield { kind: "changed", ...named, ...(ENDING.has(event.Action) ? { ended: { instance } } : {}) };
  }
}

type EventSubject = { service: string; container: string };

async function loadOwners(engine: Engine, owners: Map<string, string>, { signal }: Call): Promise<void> {
  const services = await engine.call({ doing: "Listing services", signal }, (docker, abortSignal) =>
    docker.listServices({ filters: JSON.stringify({ label: [OURS] }), abortSignal }),
  );
  owners.clear();
  for (const { Spec } of services) if (Spec?.Name && Spec.Labels?.[OURS]) owners.set(Spec.Name, Spec.Labels[OURS]);
}

function ofContainer({ Actor }: EngineEvent): EventSubject | undefined {
  const { [SERVICE_NAME]: service, [OURS]: container } = Actor?.Attributes ?? {};
  return service !== undefined && container !== undefined ? { service, container } : undefined;
}

async function ofService(
  engine: Engine,
  owners: Map<string, string>,
  { Action, Actor }: EngineEvent,
  { signal }: Call,
): Promise<EventSubject | undefined> {
  const service = Actor?.Attributes?.["name"];
  if (service === undefined) return undefined;
  if (Action === "create") {
    const owner = (await findService(engine, service, signal))?.Spec?.Labels?.[OURS];
    if (owner !== undefined) owners.set(service, owner);
  }
  const container = owners.get(service);
  if (Action === "remove") owners.delete(service);
  return container === undefined ? undefined : { service, container };
}
