import type { Capacity } from "../driver.ts";
import type { Engine } from "./engine.ts";

const MEBIBYTE = 1_048_576;

/** What the machine of an engine has. Faults: ENGINE_UNREACHABLE, ENGINE_FAILED. */
export async function engineCapacity(engine: Engine, signal: AbortSignal): Promise<Capacity> {
  const info = (await engine.call({ doing: "Asking the engine what it has", signal }, (docker) => docker.info())) as {
    NCPU?: number;
    MemTotal?: number;
  };
  return { machines: 1, cpu: info.NCPU ?? 0, memoryMb: Math.floor((info.MemTotal ?? 0) / MEBIBYTE) };
}
