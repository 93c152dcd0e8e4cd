import type { ServiceSpec } from "dockerode";
import type { Capacity, Call } from "../driver.ts";
import { listContainers } from "../engine/containers.ts";
import type { Engine } from "../engine/engine.ts";
import { undefinedOn } from "../engine/faults.ts";
import { advisedFault } from "../faults.ts";
import { isServiceName, OURS } from "../labels.ts";

export type SwarmNode = {
  id: string;
  /** Its address as the manager has it. */
  address: string;
  ready: boolean;
  /** The swarm has lost it. After a change of the swarm's leader, a node is neither for a while. */
  down: boolean;
  labels: Record<string, string>;
  /** Kinds of its generic resources, from its engine's `node-generic-resources`. */
  resources: string[];
  cpu: number;
  memoryMb: number;
};

export type SwarmCluster = {
  /** The node of the queried engine. */
  self: string;
  nodes: SwarmNode[];
};

/** As in the engine's API; the client has no types of nodes. */
type NodeEntry = {
  ID: string;
  Spec?: { Labels?: Record<string, string> };
  Status?: { State?: string; Addr?: string };
  Description?: {
    Resources?: {
      NanoCPUs?: number;
      MemoryBytes?: number;
      GenericResources?: { NamedResourceSpec?: { Kind: string }; DiscreteResourceSpec?: { Kind: string } }[];
    };
  };
};

/** True if the engine manages a swarm. Faults: ENGINE_UNREACHABLE, ENGINE_FAILED. */
export async function isManager(engine: Engine, signal: AbortSignal, ms: number): Promise<boolean> {
  return (await swarmOf(engine, signal, ms))?.ControlAvailable === true;
}

/** Faults: ENGINE_FAILED if the engine manages no swarm, ENGINE_UNREACHABLE. */
export async function readCluster(engine: Engine, signal: AbortSignal): Promise<SwarmCluster> {
  const swarm = await swarmOf(engine, signal);
  if (swarm?.ControlAvailable !== true)
    throw advisedFault("ENGINE_FAILED", "The engine manages no swarm: `docker swarm init` makes it do so, BERTH_DRIVER=docker does without");
  return { self: swarm.NodeID ?? "", nodes: await listNodes(engine, signal) };
}

async function swarmOf(engine: Engine, signal: AbortSignal, ms?: number): Promise<{ ControlAvailable?: boolean; NodeID?: string } | undefined> {
  const call = { doing: "Inspecting the engine's swarm", signal, ...(ms === undefined ? {} : { ms }) };
  const info = (await engine.call(call, (docker) => docker.info())) as { Swarm?: { ControlAvailable?: boolean; NodeID?: string } };
  return info.Swarm;
}

export async function listNodes(engine: Engine, signal: AbortSignal | undefined): Promise<SwarmNode[]> {
  const nodes = (await engine.call({ doing: "Listing the swarm's nodes", signal }, (docker, abortSignal) =>
    docker.listNodes({ abortSignal }),
  )) as NodeEntry[];
  return nodes.map(({ ID, Spec, Status, Description }) => ({
    id: ID,
    address: Status?.Addr ?? "",
    ready: Status?.State === "ready",
    down: Status?.State === "down",
    labels: Spec?.Labels ?? {},
    cpu: (Description?.Resources?.NanoCPUs ?? 0) / 1e9,
    memoryMb: Math.floor((Description?.Resources?.MemoryBytes ?? 0) / 1_048_576),
    resources: (Description?.Resources?.GenericResources ?? []).flatMap(
      ({ NamedResourceSpec, DiscreteResourceSpec }) => NamedResourceSpec?.Kind ?? DiscreteResourceSpec?.Kind ?? [],
    ),
  }));
}

/** The capacity of the ready nodes. Faults: ENGINE_UNREACHABLE, ENGINE_FAILED. */
export async function swarmCapacity(engine: Engine, signal: AbortSignal): Promise<Capacity> {
  const nodes = (await listNodes(engine, signal)).filter(({ ready }) => ready);
  const sum = (of: (node: SwarmNode) => number) => nodes.reduce((all, node) => all + of(node), 0);
  return { machines: nodes.length, cpu: sum(({ cpu }) => cpu), memoryMb: sum(({ memoryMb }) => memoryMb) };
}

/** The label that the engine gives to containers of a service. */
const OF_SERVICE = "com.docker.swarm.service.id";

/** Names of containers that berth's `docker` driver has started on this engine: this driver neither lists nor ends them. */
export async function leftOnEngine(engine: Engine, { signal }: Call): Promise<string[]> {
  const containers = await listContainers(engine, { label: OURS, all: true }, signal);
  return containers.filter(({ Labels }) => Labels[OF_SERVICE] === undefined).flatMap(({ Names }) => Names[0]?.replace(/^\//, "") ?? []);
}

/** A service as in the engine's API. */
export type Service = { ID: string; Spec?: ServiceSpec | undefined };

/** One run of a service, as in the engine's API (`GET /tasks`, docs.docker.com/reference/api/engine); the client has no types of it. */
export type Task = {
  ID: string;
  CreatedAt: string;
  ServiceID: string;
  NodeID?: string;
  DesiredState: string;
  Status: {
    State: string;
    Message?: string;
    Err?: string;
    ContainerStatus?: { ContainerID?: string; ExitCode?: number };
    PortStatus?: { Ports?: { TargetPort: number; PublishedPort?: number; PublishMode?: string }[] };
  };
};

/** The final states of a task. */
const FINAL_STATES = new Set(["complete", "shutdown", "failed", "rejected", "remove", "orphaned"]);

export function isOver({ Status }: Task): boolean {
  return FINAL_STATES.has(Status.State);
}

/** The service with exactly this name, created by berth or not. */
export async function findService(engine: Engine, name: string, signal: AbortSignal | undefined): Promise<Service | undefined> {
  const service = (await undefinedOn([404], () =>
    engine.call({ doing: `Inspecting ${name}`, signal }, (docker, abortSignal) => docker.getService(name).inspect({ abortSignal })),
  )) as Service | undefined;
  // The engine also finds a service by (the beginning of) its id.
  return service?.Spec?.Name === name ? service : undefined;
}

/** The same with berth's labels only. */
export async function findOwnService(engine: Engine, name: string, signal: AbortSignal | undefined): Promise<Service | undefined> {
  const service = isServiceName(name) ? await findService(engine, name, signal) : undefined;
  return service?.Spec?.Labels?.[OURS] === undefined ? undefined : service;
}

/** Undefined if the service does not exist. */
export function tasksOf(engine: Engine, serviceId: string, signal: AbortSignal | undefined): Promise<Task[] | undefined> {
  return undefinedOn([404], () => listTasks(engine, { service: [serviceId] }, signal));
}

/** Also the tasks of removed services, by the prefix of their names. */
export async function listTasks(engine: Engine, filters: Record<string, string[]>, signal: AbortSignal | undefined): Promise<Task[]> {
  return (await engine.call({ doing: "Listing tasks", signal }, (docker, abortSignal) =>
    docker.listTasks({ filters: JSON.stringify(filters), abortSignal }),
  )) as Task[];
}

/** The newest task: an update or a user may have created several. */
export function currentTask(tasks: readonly Task[]): Task | undefined {
  return tasks.toSorted((one, other) => Date.parse(other.CreatedAt) - Date.parse(one.CreatedAt))[0];
}
