import type { Call } from "../driver.ts";
import type { Engine } from "./engine.ts";
import { answered } from "./faults.ts";
import { inspect } from "./inspect.ts";
import type { View } from "./observe.ts";

/** How long a container has between SIGTERM and SIGKILL. */
export const STOP_GRACE_MS = 10_000;
const STOP_CALL_MS = STOP_GRACE_MS + 20_000;
const GONE_CALL_MS = 10_000;

/** Stops and removes it; whoever else is doing the same, or already did, is welcome. */
export async function destroy(engine: Engine, view: View, service: string, { signal }: Call): Promise<void> {
  if (!(await inspect(engine, view, service, { signal }))) return;
  const doing = `Stopping ${service}`;
  await unless([304, 404], () =>
    engine.call({ doing, signal, ms: STOP_CALL_MS }, (docker, abortSignal) =>
      docker.getContainer(service).stop({ t: STOP_GRACE_MS / 1000, abortSignal }),
    ),
  );
  await remove(engine, service, signal);
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
