import { Fault } from "../../lib/fault.ts";
import type { Spec } from "../driver.ts";
import { endedEarly, LAST_LINES, lastLines } from "../crash-fault.ts";
import type { Engine } from "../engine/engine.ts";
import { logStream } from "../engine/log-stream.ts";
import { look } from "./inspect.ts";

/** What a container that ended by itself leaves behind, read before it is removed. */
export async function crashed(engine: Engine, spec: Spec, id: string, signal: AbortSignal): Promise<Fault> {
  const found = await look(engine, id, signal);
  const logs = await lastLines(logStream(engine, { of: "containers", id }, { tail: LAST_LINES }, signal), signal);
  if (!found) return new Fault("CONTAINER_CRASHED", `${spec.service} was removed by somebody else before it was ready.`, { logs });
  const { ExitCode: code, OOMKilled: outOfMemory, Error: said } = found.State;
  return endedEarly(spec, { code, outOfMemory, said }, logs);
}
