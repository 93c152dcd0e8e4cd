import { Fault, type FaultCode } from "../../../lib/fault.ts";
import type { Container } from "../../model/entities.ts";
import type { HistoryEntry } from "../../store/history.ts";
import type { Rooms } from "../rooms.ts";
import { explainContext, explainState, type ExplainContext } from "./why.ts";
import { type KeepsAwake, keepsAwake, type Timer, timersOf } from "./timers.ts";
import type { Observed } from "../../../drivers/driver.ts";
import { callDriver } from "../call-driver.ts";

/** All of it as of one moment, but for the engine's word, which comes a little later. */
export type Explanation = {
  container: Container;
  why: string;
  /** The last moves, oldest first. */
  history: HistoryEntry[];
  timers: Timer[];
  awake: KeepsAwake[];
  failure: LastFailure | undefined;
  engine: EngineStatus;
};

const MOST_MOVES = 10;

/** Says why a container is as it is, and changes nothing. Faults: CONTAINER_NOT_FOUND. */
export async function explainContainer(rooms: Rooms, id: string, signal: AbortSignal): Promise<Explanation> {
  const container = rooms.store.containers.find(id);
  if (!container) throw new Fault("CONTAINER_NOT_FOUND", `There is no container ${id}.`);
  const about = explainContext(rooms, container);
  return {
    container,
    why: explainState(about),
    history: about.history.slice(-MOST_MOVES),
    timers: timersOf(about),
    awake: keepsAwake(about),
    failure: lastFailure(about),
    engine: await readEngineStatus(rooms, container, signal),
  };
}

/** What the orchestrator says of a container's service now. */
export type EngineStatus = { says: string; fact: Observed | undefined };

/** Nobody waits longer for an explanation. */
const ASK_MS = 5_000;

/** An engine that cannot be asked is an explanation too, and no fault. */
export async function readEngineStatus(rooms: Rooms, row: Container, signal: AbortSignal): Promise<EngineStatus> {
  const overdue = () => new Fault("ENGINE_UNREACHABLE", `The container engine did not answer within ${ASK_MS / 1_000} s.`);
  try {
    const fact = await callDriver({ clock: rooms.clock, ms: ASK_MS, overdue, signal }, (call) => rooms.driver.inspect(row.service, { signal: call }));
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

/** `logs`: its last lines, oldest first; empty where they were not had, or where another run's have taken their place since. */
export type LastFailure = { at: number; code: FaultCode; message: string; logs: string[] };

const STOPPED = ["USER_STOPPED", "SYSTEM_STOPPED"];
const MOST_LINES = 50;

/** The newest one that its history knows. */
export function lastFailure({ row, history }: ExplainContext): LastFailure | undefined {
  const index = history.findLastIndex(({ cause }) => cause !== undefined);
  const entry = history[index];
  if (!entry?.cause) return undefined;
  const sinceKept = history.slice(index + 1).every(({ toState }) => !STOPPED.includes(toState));
  const logs = row.fault?.code === entry.cause.code ? row.fault.logs : undefined;
  const kept = sinceKept ? row.lastLogs.split("\n").filter((line) => line !== "") : [];
  return { at: entry.at, ...entry.cause, logs: (logs ?? kept).slice(-MOST_LINES) };
}
