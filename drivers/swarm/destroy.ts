import type { ContainerInfo } from "dockerode";
import { advisedFault } from "../faults.ts";
import type { Call } from "../driver.ts";
import type { Engine } from "../engine/engine.ts";
import { answered } from "../engine/faults.ts";
import { OURS, isServiceName } from "../labels.ts";
import { listNodes, findService, isOver, listTasks, type Task } from "./cluster.ts";
import { STOP_GRACE_MS } from "./definition.ts";

/** Swarm takes 2 s to tell all nodes that a task goes before it stops it, and as long again before it removes the container. */
const GONE_MS = STOP_GRACE_MS + 30_000;
const LOOK_EVERY_MS = 100;

/** The label that the engine gives to containers of a service. */
const OF_SERVICE = "com.docker.swarm.service.id";

/** Stops and removes the service, and waits until no container of it is left on this machine, nor runs on any other that answers. */
export async function destroy(engine: Engine, service: string, { signal }: Call): Promise<void> {
  signal.throwIfAborted();
  if (!isServiceName(service)) return;
  const found = await findService(engine, service, signal);
  if (found?.Spec?.Labels?.[OURS] !== undefined) await remove(engine, { id: found.ID, name: service }, "gone", signal);
}

/**
 * Removes a service and waits until its tasks have "ended", or until this machine's containers of it are "gone" too. Somebody who is doing the
 * same is welcome. Without a signal it cannot be called off: it then cleans up after a failed start, whose container is killed without grace.
 */
export async function remove(engine: Engine, service: { id: string; name: string }, until: "ended" | "gone", signal?: AbortSignal): Promise<void> {
  const { clock } = engine;
  await unless404(() =>
    engine.call({ doing: `Removing ${service.name}`, signal }, (docker, abortSignal) => docker.getService(service.id).remove({ abortSignal })),
  );
  for (const end = clock.monotonic() + GONE_MS; ; await clock.sleep(LOOK_EVERY_MS, signal)) {
    const left = await unendedTasks(engine, service, signal);
    // Also one that this machine has just started, of which the swarm does not know yet.
    const here = await containersHere(engine, service.id, signal);
    const running = here.filter(({ State }) => State === "running");
    if (left.length === 0 && (until === "ended" ? running : here).length === 0) return;
    if (signal === undefined) await Promise.all(running.map(({ Id }) => kill(engine, Id)));
    if (clock.monotonic() < end) continue;
    const where = left.map(({ NodeID }) => NodeID ?? "no node yet").join(", ") || "this machine";
    throw advisedFault("ENGINE_FAILED", `${service.name} was removed, but its container has not ended within ${GONE_MS / 1000} s (node: ${where})`);
  }
}

/**
 * One that was given to a node may still start its container there. A node that does not answer cannot be waited for: Swarm ends what it runs when it
 * is back.
 */
async function unendedTasks(engine: Engine, { id, name }: { id: string; name: string }, signal: AbortSignal | undefined): Promise<Task[]> {
  const tasks = await listTasks(engine, { name: [`${name}.`] }, signal);
  const left = tasks.filter((task) => task.ServiceID === id && !isOver(task) && task.NodeID);
  if (left.length === 0) return [];
  const ready = new Set((await listNodes(engine, signal)).flatMap((node) => (node.ready ? node.id : [])));
  return left.filter(({ NodeID }) => ready.has(NodeID ?? ""));
}

function containersHere(engine: Engine, serviceId: string, signal: AbortSignal | undefined): Promise<ContainerInfo[]> {
  return engine.call({ doing: "Listing containers", signal }, (docker, abortSignal) =>
    docker.listContainers({ all: true, filters: { label: [`${OF_SERVICE}=${serviceId}`] }, abortSignal }),
  );
}

async function kill(engine: Engine, id: string): Promise<void> {
  // 404: it is gone; 409: it does not run.
  await engine
    .call({ doing: `Killing ${id}` }, (docker, abortSignal) => docker.getContainer(id).kill({ abortSignal }))
    .catch((error: unknown) => {
      if (!answered(error, 404, 409)) throw error;
    });
}

async function unless404(task: () => Promise<unknown>): Promise<void> {
  try {
    await task();
  } catch (error) {
    if (!answered(error, 404)) throw error;
  }
}
