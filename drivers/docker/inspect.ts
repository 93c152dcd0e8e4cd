import type { ContainerInspectInfo } from "dockerode";
import type { Call, Observed, Spec } from "../driver.ts";
import type { Engine } from "../engine/engine.ts";
import { answered } from "../engine/faults.ts";
import { isServiceName } from "../labels.ts";
import { observeOne, type DockerView } from "./observe.ts";
import { Fault } from "../../lib/fault.ts";
import { crashFault, LOG_TAIL_LINES, logTail } from "../faults.ts";
import { logStream } from "../engine/log-stream.ts";

/** All that the engine knows of a container, ours or not; undefined where there is none. */
export async function findContainer(engine: Engine, service: string, signal: AbortSignal | undefined): Promise<ContainerInspectInfo | undefined> {
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
  const found = await findContainer(engine, service, signal);
  // The engine also finds a container by (the beginning of) its id.
  return found && found.Name === `/${service}` ? observeOne(view, found) : undefined;
}

/** What a container that ended by itself leaves behind, read before it is removed. */
export async function containerCrashFault(engine: Engine, spec: Spec, id: string, signal: AbortSignal): Promise<Fault> {
  const found = await findContainer(engine, id, signal);
  const logs = await logTail(logStream(engine, { of: "containers", id }, { tail: LOG_TAIL_LINES }, signal), signal);
  if (!found) return new Fault("CONTAINER_CRASHED", `${spec.service} was removed by somebody else before it was ready.`, { logs });
  const { ExitCode: code, OOMKilled: outOfMemory, Error: said } = found.State;
  return crashFault(spec, { code, outOfMemory, said }, logs);
}
