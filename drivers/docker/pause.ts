import type { Call } from "../driver.ts";
import type { Engine } from "../engine/engine.ts";
import { answered } from "../engine/faults.ts";
import { findContainer } from "./inspect.ts";
import { observeOne, type DockerView } from "./observe.ts";

/** Freezes what runs, by the kernel's freezer. False where nothing does, or where the engine may not or cannot: one without root on an old kernel. */
export async function pause(engine: Engine, view: DockerView, service: string, { signal }: Call): Promise<boolean> {
  const found = await findContainer(engine, service, signal);
  const fact = found && found.Name === `/${service}` ? observeOne(view, found) : undefined;
  if (!found || !fact?.running) return fact?.paused === true;
  return did(() =>
    engine.call({ doing: `Pausing ${service}`, signal }, (docker, abortSignal) => docker.getContainer(found.Id).pause({ abortSignal })),
  );
}

/** Has it go on where it was frozen. False where it does not. Not cut off by a signal, as a start is not: it takes milliseconds, or its time-out. */
export async function thaw(engine: Engine, id: string, service: string): Promise<boolean> {
  if (await did(() => engine.call({ doing: `Unpausing ${service}` }, (docker) => docker.getContainer(id).unpause()))) return true;
  // Somebody else may have been first.
  const now = await findContainer(engine, id, undefined);
  return now?.State.Running === true && !now.State.Paused;
}

/** An answer that says no is one; the engine has a 500 for what is not in the state that is asked for. */
async function did(task: () => Promise<unknown>): Promise<boolean> {
  try {
    await task();
    return true;
  } catch (error) {
    if (answered(error, 403, 404, 409, 500)) return false;
    throw error;
  }
}
