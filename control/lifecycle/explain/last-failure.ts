import type { FaultCode } from "../../../lib/fault.ts";
import type { About } from "./about.ts";

/** `logs`: its last lines, oldest first; empty where they were not had, or where another run's have taken their place since. */
export type LastFailure = { at: number; code: FaultCode; message: string; logs: string[] };

const STOPPED = ["USER_STOPPED", "SYSTEM_STOPPED"];
const MOST_LINES = 50;

/** The newest one that its history knows. */
export function lastFailure({ row, history }: About): LastFailure | undefined {
  const index = history.findLastIndex(({ cause }) => cause !== undefined);
  const entry = history[index];
  if (!entry?.cause) return undefined;
  const sinceKept = history.slice(index + 1).every(({ toState }) => !STOPPED.includes(toState));
  const logs = row.fault?.code === entry.cause.code ? row.fault.logs : undefined;
  const kept = sinceKept ? row.lastLogs.split("\n").filter((line) => line !== "") : [];
  return { at: entry.at, ...entry.cause, logs: (logs ?? kept).slice(-MOST_LINES) };
}
