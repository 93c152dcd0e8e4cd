import type { Observed } from "../../../drivers/driver.ts";
import { Fault, type FaultCode } from "../../../lib/fault.ts";
import type { Container } from "../../model/entities.ts";
import type { HistoryEntry } from "../../model/records.ts";
import type { Store } from "../../store/open-store.ts";
import { type ContainerEngine, linesOfTail } from "../engine.ts";
import type { LifecycleLimits } from "../limits.ts";
import type { ReadSituation } from "../situation.ts";
import { type ExplainContext, explainState } from "./state-reason.ts";
import { type KeepsAwake, keepsAwake, type Timer, timersOf } from "./timers.ts";

/** As of one moment, except for the engine's status, which is read a little later. */
export type ContainerExplanation = {
  container: Container;
  why: string;
  /** The last moves, oldest first. */
  history: HistoryEntry[];
  timers: Timer[];
  awake: KeepsAwake[];
  failure: LastFailure | undefined;
  engine: EngineStatus;
};

export type ExplainDeps = {
  store: Pick<Store, "id" | "containers" | "history" | "users">;
  engine: Pick<ContainerEngine, "call">;
  situationOf: ReadSituation;
  limits: LifecycleLimits;
};

const MOST_MOVES = 10;
/** An explanation waits no longer for the engine. */
const INSPECT_MS = 5_000;

/** Says why a container is in its state, and changes nothing. Faults: CONTAINER_NOT_FOUND. */
export async function explainContainer(deps: ExplainDeps, id: string, signal: AbortSignal): Promise<ContainerExplanation> {
  const { store, situationOf, limits } = deps;
  const container = await store.containers.find(id);
  if (!container) throw new Fault("CONTAINER_NOT_FOUND", `There is no container ${id}.`);
  const history = await store.history.of(id);
  const logins = await store.users.logins([container.requestedBy, ...history.map(({ byUser }) => byUser)]);
  const context: ExplainContext = {
    ...(await situationOf(container, "unknown")),
    limits,
    history,
    nameOf: (userId) => (userId === undefined ? "berth" : (logins.get(userId) ?? "a removed user")),
  };
  return {
    container,
    why: explainState(context),
    history: context.history.slice(-MOST_MOVES),
    timers: timersOf(context),
    awake: keepsAwake(context),
    failure: lastFailure(context),
    engine: await readEngineStatus(deps, container, signal),
  };
}

/** What the orchestrator reports of a container's service now. */
export type EngineStatus = { says: string; fact: Observed | undefined };

/** An engine that does not answer is an explanation too, and no fault. */
async function readEngineStatus({ store, engine }: ExplainDeps, row: Container, signal: AbortSignal): Promise<EngineStatus> {
  const overdue = () => new Fault("ENGINE_UNREACHABLE", `The container engine did not answer within ${INSPECT_MS / 1_000} s.`);
  try {
    const fact = await engine.call("inspect", [row.service], { deadline: { ms: INSPECT_MS, overdue }, signal });
    return { says: describe(fact, row, store.id), fact };
  } catch (error) {
    if (!(error instanceof Fault)) throw error;
    return { says: error.message, fact: undefined };
  }
}

function describe(observed: Observed | undefined, { id, service, generation }: Container, storeId: string): string {
  if (!observed) return `The engine has no container named ${service}.`;
  const { labels, exit, address } = observed;
  if (labels.store !== storeId || labels.container !== id) return `The engine has ${service}, but it belongs to another berth or container.`;
  const age = labels.generation === generation ? "the newest definition" : `definition ${labels.generation}; the newest is ${generation}`;
  if (observed.running)
    return `The engine runs ${service}${address ? ` at ${address.host} port ${address.port}` : ", without an address"}, of ${age}.`;
  if (observed.paused) return `The engine has ${service} paused, with its memory, of ${age}.`;
  if (exit?.outOfMemory) return `The engine reports that ${service} ran out of memory and was killed.`;
  return `The engine has ${service}, of ${age}; it ${exit ? `ended with code ${exit.code}` : "does not run"}.`;
}

/** `logs`: its last lines, oldest first; empty where they could not be read, or where another run's replaced them. */
export type LastFailure = { at: number; code: FaultCode; message: string; logs: string[] };

const STOPPED = ["USER_STOPPED", "SYSTEM_STOPPED"];
const MOST_LINES = 50;

/** The newest failure in its history. */
function lastFailure({ row, history }: ExplainContext): LastFailure | undefined {
  const index = history.findLastIndex(({ cause }) => cause !== undefined);
  const entry = history[index];
  if (!entry?.cause) return undefined;
  const isNewest = history.slice(index + 1).every(({ toState }) => !STOPPED.includes(toState));
  const logs = row.fault?.code === entry.cause.code ? row.fault.logs : undefined;
  return { at: entry.at, ...entry.cause, logs: (logs ?? (isNewest ? linesOfTail(row.lastLogs) : [])).slice(-MOST_LINES) };
}
