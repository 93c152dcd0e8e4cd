import { Fault } from "../../lib/fault.ts";
import type { Call, LogOptions, Spec } from "../driver.ts";
import type { Engine } from "../engine/engine.ts";
import { logStream } from "../engine/streams.ts";
import { crashFault, LOG_TAIL_LINES, logTail } from "../faults.ts";
import { findContainer, inspect, type DockerView } from "./observe.ts";

/** Ends when the container does. */
export async function* logs(engine: Engine, view: DockerView, service: string, options: LogOptions, { signal }: Call): AsyncGenerator<string> {
  if (await inspect(engine, view, service, { signal })) yield* logStream(engine, { of: "containers", id: service }, options, signal);
}

/** Why a container ended by itself; read before it is removed. */
export async function containerCrashFault(engine: Engine, spec: Spec, id: string, signal: AbortSignal): Promise<Fault> {
  const container = await findContainer(engine, id, signal);
  const lines = await logTail(logStream(engine, { of: "containers", id }, { tail: LOG_TAIL_LINES, timestamps: true }, signal), signal);
  if (!container) return new Fault("CONTAINER_CRASHED", `Another process removed ${spec.service} before it was ready.`, { logs: lines });
  const { ExitCode: code, OOMKilled: outOfMemory, Error: reason } = container.State;
  return crashFault(spec, { code, outOfMemory, reason }, lines);
}
