import type { ContainerInfo } from "dockerode";
import type { Call, Observed } from "../driver.ts";
import type { Engine } from "../engine/engine.ts";
import { OURS } from "../labels.ts";
import { inspect } from "./inspect.ts";
import { observeListed, type DockerView } from "./observe.ts";

/** The engine's own lines of all containers of berth's, of whichever store. */
export function listLines(engine: Engine, signal: AbortSignal | undefined): Promise<ContainerInfo[]> {
  return engine.call({ doing: "Listing containers", signal }, (docker, abortSignal) =>
    docker.listContainers({ all: true, filters: { label: [OURS] }, abortSignal }),
  );
}

export async function list(engine: Engine, view: DockerView, lines: readonly ContainerInfo[], { signal }: Call): Promise<Observed[]> {
  const observed: Observed[] = [];
  for (const line of lines) {
    const one = observeListed(view, line);
    // Only `inspect` knows why one ended; those that did are few. It may be gone by then.
    const exact = one && !one.running && !one.paused ? await inspect(engine, view, one.service, { signal }) : one;
    if (exact) observed.push(exact);
  }
  return observed;
}
