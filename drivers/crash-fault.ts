import type { Fault } from "../lib/fault.ts";
import { advisedFault } from "./faults.ts";
import type { Spec } from "./driver.ts";

/** How many lines of a container that failed are kept. */
export const LOG_TAIL_LINES = 20;

/** Killed by SIGKILL, which is also how a machine ends what takes too much memory. */
const KILLED = 137;

/** A container that ended before it was ready: `code` is undefined where nobody knows it, `said` is the orchestrator's own sentence. */
export function crashFault(
  spec: Pick<Spec, "service" | "memoryMb">,
  how: { code: number | undefined; outOfMemory: boolean | undefined; said?: string | undefined },
  logs: string[],
): Fault {
  const { code, outOfMemory, said } = how;
  if (outOfMemory) {
    const sentence = `${spec.service} ran out of memory (its limit is ${spec.memoryMb} MB) and was killed before it was ready, exit code ${code ?? "unknown"}.`;
    return advisedFault("CONTAINER_OUT_OF_MEMORY", sentence, { logs });
  }
  const hint = code === KILLED && outOfMemory === undefined ? " (killed, perhaps for its memory)" : "";
  const sentence = `${spec.service} ended before it was ready, exit code ${code ?? "unknown"}${hint}${said ? `: ${said}` : ""}`;
  return advisedFault("CONTAINER_CRASHED", sentence, { logs });
}

/** The last lines of a log that may end anywhere; none where it cannot be read, since the failure that it is read for matters more. */
export async function logTail(pieces: AsyncIterable<string>, signal: AbortSignal): Promise<string[]> {
  let text = "";
  try {
    for await (const piece of pieces) text += piece;
  } catch {
    signal.throwIfAborted();
  }
  return linesOf(text).slice(-LOG_TAIL_LINES);
}

export function linesOf(text: string): string[] {
  return text.split(/\r?\n/).filter((line) => line !== "");
}
