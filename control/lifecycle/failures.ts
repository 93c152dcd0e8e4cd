import { type FaultCode, Fault } from "../../lib/fault.ts";
import type { Log } from "../../lib/log.ts";

/** What is wrong with the engine rather than with what it runs: nobody's fault, and over once the engine is well again. */
const TROUBLE: ReadonlySet<FaultCode> = new Set(["ENGINE_UNREACHABLE", "ENGINE_FAILED"]);

export function isEngineTrouble(code: FaultCode | undefined): boolean {
  return code !== undefined && TROUBLE.has(code);
}

/** What is stored of an error: a fault as it is; anything else is a bug, which is logged here and told without detail. */
export function asFault(error: unknown, log: Log): Fault {
  if (error instanceof Fault) return error;
  log.error({ err: error }, "unexpected error");
  return new Fault("INTERNAL", "An internal error occurred.", { cause: error });
}
