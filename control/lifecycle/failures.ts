import type { FaultCode } from "../../lib/fault.ts";

/** What is wrong with the engine rather than with what it runs: nobody's fault, and over once the engine is well again. */
const TROUBLE: ReadonlySet<FaultCode> = new Set(["ENGINE_UNREACHABLE", "ENGINE_FAILED"]);

export function isEngineTrouble(code: FaultCode | undefined): boolean {
  return code !== undefined && TROUBLE.has(code);
}
