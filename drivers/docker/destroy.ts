import type { ContainerInspectInfo } from "dockerode";
import type { Call } from "../driver.ts";
import type { Engine } from "../engine/engine.ts";
import { answered } from "../engine/faults.ts";
import { isServiceName } from "../labels.ts";
import { findContainer } from "./inspect.ts";
import { observeOne, type DockerView } from "./observe.ts";

/** How long a container has between SIGTERM and SIGKILL. */
const STOP_GRACE_MS = 10_000;
const STOP_CALL_MS = STOP_GRACE_MS + 20_000;
const GONE_CALL_MS = 10_000;

/** Stops and removes it, also where another call is doing or did the same. Returns what there was of it. */
export async function destroy(engine: Engine, view: DockerView, service: string, { signal }: Call): Promise<ContainerInspectInfo | undefined> {
  const found = isServiceName(service) ? await findContainer(engine, service, signal) : undefined;
  if (!found || found.Name !== `/${service}` || !observeOne(view, found)) return undefined;
  await halt(engine, service, service, signal);
  await remove(engine, service, signal);
  return found;
}

/** Stops a container, politely first; one that does not run or does not exist is fine. `id` may be its name. */
export async function halt(engine: Engine, id: string, service: string, signal: AbortSignal): Promise<void> {
  const asked = { doing: `Stopping ${service}`, signal, ms: STOP_CALL_MS };
  await unless([304, 404], () => engine.call(asked, (docker, abortSignal) => docker.getContainer(id).stop({ t: STOP_GRACE_MS / 1000, abortSignal })));
}

/** Removes a container, running or not. Without a signal it can no longer be called off: it cleans up after a failure. */
export async function remove(engine: Engine, id: string, signal?: AbortSignal): Promise<void> {
  const doing = `Removing ${id}`;
  // 409: somebody is removing it already.
  await unless([404, 409], () =>
    engine.call({ doing, signal }, (docker, abortSignal) => docker.getContainer(id).remove({ force: true, v: true, abortSignal })),
  );
  // Returns when it is gone, so that its name is free again; 404 where it already is.
  await unless([404], () =>
    engine.call({ doing, signal, ms: GONE_CALL_MS }, (docker, abortSignal) => docker.getContainer(id).wait({ condition: "removed", abortSignal })),
  );
}

async function unless(fine: number[], task: () => Promise<unknown>): Promise<void> {
  try {
    await task();
  } catch (error) {
    if (!answered(error, ...fine)) throw error;
  }
}
