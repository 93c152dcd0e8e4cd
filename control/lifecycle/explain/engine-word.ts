import type { Observed } from "../../../drivers/driver.ts";
import { Fault } from "../../../lib/fault.ts";
import type { Container } from "../../model/entities.ts";
import { drive } from "../call-driver.ts";
import type { Rooms } from "../rooms.ts";

/** What the orchestrator says of a container's service now. */
export type EngineWord = { says: string; fact: Observed | undefined };

/** Nobody waits longer for an explanation. */
const ASK_MS = 5_000;

/** An engine that cannot be asked is an explanation too, and no fault. */
export async function engineWord(rooms: Rooms, row: Container, signal: AbortSignal): Promise<EngineWord> {
  const overdue = () => new Fault("ENGINE_UNREACHABLE", `The container engine did not answer within ${ASK_MS / 1_000} s.`);
  try {
    const fact = await drive({ clock: rooms.clock, ms: ASK_MS, overdue, signal }, (call) => rooms.driver.inspect(row.service, { signal: call }));
    return { says: inWords(rooms, row, fact), fact };
  } catch (error) {
    if (!(error instanceof Fault)) throw error;
    return { says: error.message, fact: undefined };
  }
}

function inWords({ store }: Rooms, row: Container, fact: Observed | undefined): string {
  if (!fact) return `The engine has nothing under the name ${row.service}.`;
  const { labels, exit, address } = fact;
  if (labels.store !== store.id || labels.container !== row.id) return `The engine has ${row.service}, but it belongs to another berth or container.`;
  const age =
    labels.generation === row.generation ? "the newest definition" : `definition ${labels.generation}, where ${row.generation} is the newest`;
  if (fact.running)
    return `The engine runs ${row.service}${address ? ` at ${address.host} port ${address.port}` : ", without an address"}, of ${age}.`;
  if (fact.paused) return `The engine has ${row.service} frozen, with its memory, of ${age}.`;
  if (exit?.outOfMemory) return `The engine says that ${row.service} ran out of memory and was killed.`;
  return `The engine has ${row.service}, of ${age}; it ${exit ? `ended with code ${exit.code}` : "does not run"}.`;
}
