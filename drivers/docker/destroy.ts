import type { ContainerInspectInfo } from "dockerode";
import type { Call } from "../driver.ts";
import type { Engine } from "../engine/engine.ts";
import { answered, undefinedOn } from "../engine/faults.ts";
import { findContainer, findService, observeOne, type DockerView } from "./observe.ts";

/** How long a container has between SIGTERM and SIGKILL. */
const STOP_GRACE_MS = 10_000;
const STOP_CALL_MS = STOP_GRACE_MS + 20_000;
const GONE_CALL_MS = 10_000;

/** Stops and removes the container, also if another call does the same. Returns its last state. */
export async function destroy(engine: Engine, view: DockerView, service: string, { signal }: Call): Promise<ContainerInspectInfo | undefined> {
  const container = await findService(engine, view, service, signal);
  if (!container) return undefined;
  await stop(engine, service, service, signal);
  await remove(engine, service, signal);
  return container;
}

/** Stops a container with its grace time. Succeeds if it does not run or does not exist. `id` may be its name. */
export async function stop(engine: Engine, id: string, service: string, signal: AbortSignal): Promise<void> {
  const call = { doing: `Stopping ${service}`, signal, ms: STOP_CALL_MS };
  await undefinedOn([304, 404], () =>
    engine.call(call, (docker, abortSignal) => docker.getContainer(id).stop({ t: STOP_GRACE_MS / 1000, abortSignal })),
  );
}

/** Removes a container, running or not, and returns when its name is free. Without a signal it cannot be aborted: it cleans up after a failure. */
export async function remove(engine: Engine, id: string, signal?: AbortSignal): Promise<void> {
  const doing = `Removing ${id}`;
  // 409: another call is removing it.
  await undefinedOn([404, 409], () =>
    engine.call({ doing, signal }, (docker, abortSignal) => docker.getContainer(id).remove({ force: true, v: true, abortSignal })),
  );
  await undefinedOn([404], () =>
    engine.call({ doing, signal, ms: GONE_CALL_MS }, (docker, abortSignal) => docker.getContainer(id).wait({ condition: "removed", abortSignal })),
  );
}

/** Freezes a running container. False if it does not run, or if the engine cannot: without root on an old kernel. */
export async function pause(engine: Engine, view: DockerView, service: string, { signal }: Call): Promise<boolean> {
  const container = await findService(engine, view, service, signal);
  const observed = container && observeOne(view, container);
  if (!container || !observed?.running) return observed?.paused === true;
  return succeeds(() =>
    engine.call({ doing: `Pausing ${service}`, signal }, (docker, abortSignal) => docker.getContainer(container.Id).pause({ abortSignal })),
  );
}

/** False if the container does not run then. Without a signal, as a start: it takes milliseconds. */
export async function unpause(engine: Engine, id: string, service: string): Promise<boolean> {
  if (await succeeds(() => engine.call({ doing: `Unpausing ${service}` }, (docker) => docker.getContainer(id).unpause()))) return true;
  // Another call may have been first.
  const now = await findContainer(engine, id, undefined);
  return now?.State.Running === true && !now.State.Paused;
}

/** False if the engine refuses. Its status is 500 for a container in another state. */
async function succeeds(task: () => Promise<unknown>): Promise<boolean> {
  try {
    await task();
    return true;
  } catch (error) {
    if (answered(error, 403, 404, 409, 500)) return false;
    throw error;
  }
}
