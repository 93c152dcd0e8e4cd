import type { ServiceSpec } from "dockerode";
import type { Engine } from "../engine/engine.ts";
import { answered } from "../engine/faults.ts";

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
