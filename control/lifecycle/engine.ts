import type { Container } from "../model/entities.ts";
import { Fault, type FaultData } from "../../lib/fault.ts";
import { callDriver } from "./call-driver.ts";
import type { Rooms } from "./rooms.ts";

/** Its last words are worth this much of a stop or of a start, and not more. */
const LAST_LOGS_MS = 1_000;
const LAST_LOGS_LINES = 200;
/** Of a container's last words, what is kept in its row, and of a fault's, what every gateway is told: the end, in characters. */
const LONGEST_LAST_LOGS = 65_536;
const LONGEST_TOLD = 4_096;

/** Empty where they cannot be had soon: nothing fails for them. */
export async function readLogTail(rooms: Rooms, row: Pick<Container, "service">, signal: AbortSignal): Promise<string> {
  const overdue = () => new Fault("ENGINE_UNREACHABLE", "The engine was slow to give the last log lines.");
  const read = async (call: AbortSignal) => {
    let text = "";
    for await (const piece of rooms.driver.logs(row.service, { tail: LAST_LOGS_LINES }, { signal: call })) text = cutLogTail(text + piece);
    return text;
  };
  return callDriver({ clock: rooms.clock, ms: LAST_LOGS_MS, overdue, signal }, read).catch(() => "");
}

/** The same as a fault holds them. */
export async function readLogTailLines(rooms: Rooms, row: Pick<Container, "service">, signal: AbortSignal): Promise<string[]> {
  return (await readLogTail(rooms, row, signal)).split("\n").filter((line) => line !== "");
}

/** The end of a log, which is what tells why. A container may write lines of any length. */
export function cutLogTail(text: string): string {
  return text.slice(-LONGEST_LAST_LOGS);
}

/** A fault as it is stored and told: with its newest lines only. */
export function cutFaultLogs(fault: FaultData): FaultData {
  if (!fault.logs?.length) return fault;
  return { ...fault, logs: fault.logs.join("\n").slice(-LONGEST_TOLD).split("\n") };
}
