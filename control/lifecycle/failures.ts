import { Fault, type FaultCode, type FaultData } from "../../lib/fault.ts";
import type { Log } from "../../lib/log.ts";
import type { ContainerPatch } from "../model/entities.ts";

/** What is wrong with the engine rather than with what it runs: no container causes it, and it ends when the engine works again. */
const TROUBLE: ReadonlySet<FaultCode> = new Set(["ENGINE_UNREACHABLE", "ENGINE_FAILED"]);
/** How much of a log tail a container's row keeps, and how much of it a fault carries to every gateway, in characters. */
const LONGEST_LOG_TAIL = 65_536;
const LONGEST_FAULT_LOGS = 4_096;

export function isEngineTrouble(code: FaultCode | undefined): boolean {
  return code !== undefined && TROUBLE.has(code);
}

/** The orchestrator did not answer a call in time. It may still do so: what was requested is repeated, and fails only at its own limit. */
export function isUnanswered({ code, retryAfterMs }: Pick<Fault, "code" | "retryAfterMs">): boolean {
  return code === "ENGINE_UNREACHABLE" && retryAfterMs !== undefined;
}

/** What is stored of an error: a fault as it is. Anything else is a bug, which is logged here and stored without detail. */
export function asFault(error: unknown, log: Log): Fault {
  if (error instanceof Fault) return error;
  log.error({ err: error }, "unexpected error");
  return new Fault("INTERNAL", "An internal error occurred.", { cause: error });
}

/** What a failure leaves in the row: the cause, and when the next start may be tried (epoch ms), whatever the cause says of that. */
export function failurePatch(cause: FaultData, attempts: number, notBefore: number): ContainerPatch {
  const fault = { ...cause };
  delete fault.retryAfterMs;
  return { fault, attempts, notBefore, ...(fault.logs?.length ? { lastLogs: cutLogTail(fault.logs.join("\n")) } : {}) };
}

/** The end of a log, which explains the failure. A container may write lines of any length. */
export function cutLogTail(text: string): string {
  return text.slice(-LONGEST_LOG_TAIL);
}

/** A fault as it is stored and published: with its newest lines only. */
export function cutFaultLogs(fault: FaultData): FaultData {
  if (!fault.logs?.length) return fault;
  return { ...fault, logs: fault.logs.join("\n").slice(-LONGEST_FAULT_LOGS).split("\n") };
}
