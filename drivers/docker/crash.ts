import { Fault } from "../../fault.ts";
import type { Spec } from "../driver.ts";
import type { Engine } from "./engine.ts";
import { look } from "./inspect.ts";
import { logsOf } from "./logs.ts";

const LAST_LINES = 20;

/** What a container that ended by itself leaves behind, read before it is removed. */
export async function crashed(engine: Engine, spec: Spec, id: string, signal: AbortSignal): Promise<Fault> {
  const found = await look(engine, id, signal);
  const lines = await lastLines(engine, id, signal);
  if (!found) return new Fault("CONTAINER_CRASHED", `${spec.service} was removed before it was ready.`, { logs: lines });
  const { ExitCode: code, OOMKilled: outOfMemory, Error: said } = found.State;
  const why = outOfMemory ? `ran out of memory (its limit is ${spec.memoryMb} MB) and was killed` : "ended";
  return new Fault("CONTAINER_CRASHED", `${spec.service} ${why} before it was ready, exit code ${code}${said ? `: ${said}` : ""}.`, { logs: lines });
}

export async function lastLines(engine: Engine, id: string, signal: AbortSignal): Promise<string[]> {
  let text = "";
  try {
    for await (const piece of logsOf(engine, id, { tail: LAST_LINES }, signal)) text += piece;
  } catch {
    // The crash is what matters; a log driver that cannot be read must not hide it.
    signal.throwIfAborted();
  }
  return text
    .split(/\r?\n/)
    .filter((line) => line !== "")
    .slice(-LAST_LINES);
}
