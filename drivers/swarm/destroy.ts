import type { ContainerInfo } from "dockerode";
import type { Call } from "../driver.ts";
import type { Engine } from "../engine/engine.ts";
import { undefinedOn } from "../engine/faults.ts";
import { advisedFault } from "../faults.ts";
import { listNodes, findOwnService, isOver, listTasks, type Task } from "./cluster.ts";
import { STOP_GRACE_MS } from "./definition.ts";

/** Swarm takes 2 s to stop a task, and as long again to remove the container. */
const GONE_MS = STOP_GRACE_MS + 30_000;
const POLL_MS = 100;

/** The label that the engine gives to containers of a service. */
const OF_SERVICE = "com.docker.swarm.service.id";

/** Stops and removes the service, and waits until this machine has no container of it, and no other ready node runs one. */
export async function destroy(engine: Engine, service: string, { signal }: Call): Promise<void> {
  signal.throwIfAborted();
  const holder = await findOwnService(engine, service, signal);
  if (holder) await remove(engine, { id: holder.ID, name: service }, "gone", signal);
}

/**
 * Removes a service and waits until its tasks have "ended", or until this machine's containers of it are "gone" too. Another process may do the same at the
 * same time. Without a signal it cannot be aborted: it cleans up after a failed start, and kills the container without grace time.
 */
export async function remove(engine: Engine, service: { id: string; name: string }, until: "ended" | "gone", signal?: AbortSignal): Promise<void> {
  const { clock } = engine;
  await undefinedOn([404], () =>
    engine.call({ doing: `Removing ${service.name}`, signal }, (docker, abortSignal) => docker.getService(service.id).remove({ abortSignal })),
  );
  for (const end = clock.monotonic() + GONE_MS; ; await clock.sleep(POLL_MS, signal)) {
    const remaining = await unendedTasks(engine, service, signal);
    // Includes a container that this machine has just started, which the swarm does not list yet.
    const here = await containersHere(engine, service.id, signal);
    const running = here.filter(({ State }) => State === "running");
    if (remaining.length === 0 && (until === "ended" ? running : here).length === 0) return;
    if (signal === undefined) await Promise.all(running.map(({ Id }) => kill(engine, Id)));
    if (clock.monotonic() < end) continue;
    const where = remaining.map(({ NodeID }) => NodeID ?? "no node yet").join(", ") || "this machine";
    throw advisedFault("ENGINE_FAILED", `${service.name} was removed, but its container has not ended within ${GONE_MS / 1000} s (node: ${where})`);
  }
}

/**
 * A task that has a node may still start its container there. Tasks on a node that is down do not count: Swarm ends them when the node is back.
 */
async function unendedTasks(engine: Engine, { id, name }: { id: string; name: string }, signal: AbortSignal | undefined): Promise<Task[]> {
  const tasks = await listTasks(engine, { name: [`${name}.`] }, signal);
  const remaining = tasks.filter((task) => task.ServiceID === id && !isOver(task) && task.NodeID);
  if (remaining.length === 0) return [];
  const ready = new Set((await listNodes(engine, signal)).flatMap((node) => (node.ready ? node.id : [])));
  return remaining.filter(({ NodeID }) => ready.has(NodeID ?? ""));
}

function containersHere(engine: Engine, serviceId: string, signal: AbortSignal | undefined): Promise<ContainerInfo[]> {
  return engine.call({ doing: "Listing containers", signal }, (docker, abortSignal) =>
    docker.listContainers({ all: true, filters: { label: [`${OF_SERVICE}=${serviceId}`] }, abortSignal }),
  );
}

function kill(engine: Engine, id: string): Promise<unknown> {
  // 404: it is gone; 409: it does not run.
  return undefinedOn([404, 409], () =>
    engine.call({ doing: `Killing ${id}` }, (docker, abortSignal) => docker.getContainer(id).kill({ abortSignal })),
  );
}
