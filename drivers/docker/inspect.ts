import type { ContainerInspectInfo } from "dockerode";
import type { Call, Observed } from "../driver.ts";
import type { Engine } from "../engine/engine.ts";
import { answered } from "../engine/faults.ts";
import { isServiceName } from "../service-name.ts";
import { observeOne, type DockerView } from "./observe.ts";

/** All that the engine knows of a container, ours or not; undefined where there is none. */
export async function look(engine: Engine, service: string, signal: AbortSignal | undefined): Promise<ContainerInspectInfo | undefined> {
  try {
    return await engine.call({ doing: `Inspecting ${service}`, signal }, (docker, abortSignal) =>
      docker.getContainer(service).inspect({ abortSignal }),
    );
  } catch (error) {
    if (answered(error, 404)) return undefined;
    throw error;
  }
}

/** A container that only has the name of a service, but is not ours, does not exist for berth. */
export async function inspect(engine: Engine, view: DockerView, service: string, { signal }: Call): Promise<Observed | undefined> {
  signal.throwIfAborted();
  if (!isServiceName(service)) return undefined;
  const found = await look(engine, service, signal);
  // The engine also finds a container by (the beginning of) its id.
  return found && found.Name === `/${service}` ? observeOne(view, found) : undefined;
}
