import { advisedFault } from "../faults.ts";
import type { Capacity, Call } from "../driver.ts";
import type { Engine } from "../engine/engine.ts";
import { OURS } from "../labels.ts";
import type { ServiceSpec } from "dockerode";
import { answered } from "../engine/faults.ts";

export type SwarmNode = {
  id: string;
  /** Where the manager sees it. */
  address: string;
  ready: boolean;
  labels: Record<string, string>;
  /** Kinds of its generic resources, as its engine's `node-generic-resources` names them. */
  resources: string[];
  cpu: number;
  memoryMb: number;
};

export type SwarmCluster = {
  /** The node whose engine is asked. */
  self: string;
  nodes: SwarmNode[];
};

/** As the engine's API has it; the client's own types leave nodes out. */
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

/** True for an engine that manages a swarm. Faults: ENGINE_UNREACHABLE, ENGINE_FAILED. */
export async function isManager(engine: Engine, signal: AbortSignal, ms: number): Promise<boolean> {
  return (await swarmOf(engine, signal, ms))?.ControlAvailable === true;
}

/** Faults: ENGINE_FAILED where the engine manages no swarm, ENGINE_UNREACHABLE. */
export async function readCluster(engine: Engine, signal: AbortSignal): Promise<SwarmCluster> {
  const swarm = await swarmOf(engine, signal);
  if (swarm?.ControlAvailable !== true)
    throw advisedFault("ENGINE_FAILED", "The engine manages no swarm: `docker swarm init` makes it do so, BERTH_DRIVER=docker does without");
  return { self: swarm.NodeID ?? "", nodes: await listNodes(engine, signal) };
}

async function swarmOf(engine: Engine, signal: AbortSignal, ms?: number): Promise<{ ControlAvailable?: boolean; NodeID?: string } | undefined> {
  const asked = { doing: "Asking the engine for its swarm", signal, ...(ms === undefined ? {} : { ms }) };
  const info = (await engine.call(asked, (docker) => docker.info())) as { Swarm?: { ControlAvailable?: boolean; NodeID?: string } };
  return info.Swarm;
}

export async function listNodes(engine: Engine, signal: AbortSignal | undefined): Promise<SwarmNode[]> {
  const found = (await engine.call({ doing: "Listing the swarm's nodes", signal }, (docker, abortSignal) =>
    docker.listNodes({ abortSignal }),
  )) as NodeEntry[];
  return found.map(({ ID, Spec, Status, Description }) => ({
    id: ID,
    address: Status?.Addr ?? "",
    ready: Status?.State === "ready",
    labels: Spec?.Labels ?? {},
    cpu: (Description?.Resources?.NanoCPUs ?? 0) / 1e9,
    memoryMb: Math.floor((Description?.Resources?.MemoryBytes ?? 0) / 1_048_576),
    resources: (Description?.Resources?.GenericResources ?? []).flatMap(
      ({ NamedResourceSpec, DiscreteResourceSpec }) => NamedResourceSpec?.Kind ?? DiscreteResourceSpec?.Kind ?? [],
    ),
  }));
}

/** Of the nodes that take containers now. Faults: ENGINE_UNREACHABLE, ENGINE_FAILED. */
export async function swarmCapacity(engine: Engine, signal: AbortSignal): Promise<Capacity> {
  const nodes = (await listNodes(engine, signal)).filter(({ ready }) => ready);
  const sum = (of: (node: SwarmNode) => number) => nodes.reduce((all, node) => all + of(node), 0);
  return { machines: nodes.length, cpu: sum(({ cpu }) => cpu), memoryMb: sum(({ memoryMb }) => memoryMb) };
}

/** The label that the engine gives to containers of a service. */
const OF_SERVICE = "com.docker.swarm.service.id";

/** Names of containers that berth has started on the engine itself, as the driver `docker` does: this driver neither sees nor ends them. */
export async function leftOnEngine(engine: Engine, { signal }: Call): Promise<string[]> {
  const found = await engine.call({ doing: "Listing containers", signal }, (docker, abortSignal) =>
    docker.listContainers({ all: true, filters: { label: [OURS] }, abortSignal }),
  );
  return found.filter(({ Labels }) => Labels[OF_SERVICE] === undefined).flatMap(({ Names }) => Names[0]?.replace(/^\//, "") ?? []);
}

/** A service as the engine tells of it; the client's type of that name is its own object too. */
export type Service = { ID: string; Spec?: ServiceSpec | undefined };

/** One run of a service, as the engine's API has it (`GET /tasks`, docs.docker.com/reference/api/engine); the client has no types for it. */
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

/** States that a task does not leave any more. */
const OVER = new Set(["complete", "shutdown", "failed", "rejected", "remove", "orphaned"]);

export function isOver({ Status }: Task): boolean {
  return OVER.has(Status.State);
}

/** The service with exactly this name, ours or not. */
export async function findService(engine: Engine, name: string, signal: AbortSignal | undefined): Promise<Service | undefined> {
  try {
    const found = (await engine.call({ doing: `Inspecting ${name}`, signal }, (docker, abortSignal) =>
      docker.getService(name).inspect({ abortSignal }),
    )) as Service;
    // The engine also finds a service by (the beginning of) its id.
    return found.Spec?.Name === name ? found : undefined;
  } catch (error) {
    if (answered(error, 404)) return undefined;
    throw error;
  }
}

/** Undefined where the service is gone. */
export async function tasksOf(engine: Engine, serviceId: string, signal: AbortSignal | undefined): Promise<Task[] | undefined> {
  try {
    return await listTasks(engine, { service: [serviceId] }, signal);
  } catch (error) {
    if (answered(error, 404)) return undefined;
    throw error;
  }
}

/** Also of services that are gone, by the beginning of their tasks' names. */
export async function listTasks(engine: Engine, filters: Record<string, string[]>, signal: AbortSignal | undefined): Promise<Task[]> {
  return (await engine.call({ doing: "Listing tasks", signal }, (docker, abortSignal) =>
    docker.listTasks({ filters: JSON.stringify(filters), abortSignal }),
  )) as Task[];
}

/** The run that counts: the newest, of which an update or a hand may have made several. */
export function currentTask(tasks: readonly Task[]): Task | undefined {
  return tasks.toSorted((one, other) => Date.parse(other.CreatedAt) - Date.parse(one.CreatedAt))[0];
}
