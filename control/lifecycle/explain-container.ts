import type { Observed } from "../../drivers/driver.ts";
import type { ContainerAddress } from "../../gateway/contract.ts";
import { Fault, type FaultCode } from "../../lib/fault.ts";
import type { Container } from "../model/entities.ts";
import { lifetimeLeftMs, minutes } from "../model/lifetime.ts";
import type { HistoryEntry } from "../model/records.ts";
import { isStopped } from "../model/states.ts";
import { nextWarm, warmUntil } from "../model/warm-hours.ts";
import type { Store } from "../store/open-store.ts";
import { describeAddresses, type TcpPorts } from "./addresses.ts";
import { busyMs, containerTimeLeft, drainLimitMs, enteredOn, idleInMs, type ReadSituation, warmMs } from "./decide.ts";
import { type ContainerEngine, isEngineTrouble, linesOfTail } from "./engine.ts";
import type { Dependencies } from "./dependencies.ts";
import type { LifecycleLimits } from "./limits.ts";
import type { ReplicaStatus } from "./replica-sets.ts";
import type { StartSteps } from "./start-steps.ts";
import { type ExplainContext, explainState } from "./state-reason.ts";

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
  /** Where clients reach it over TCP; undefined: it has no listener. */
  listener: ContainerAddress | undefined;
  /** Undefined: its container.json has no `replicas`. */
  replicas: ReplicaStatus | undefined;
};

export type ExplainDeps = {
  store: Pick<Store, "id" | "containers" | "history" | "users">;
  engine: Pick<ContainerEngine, "call">;
  situationOf: ReadSituation;
  tcpPorts: Pick<TcpPorts, "listenerOf">;
  steps: Pick<StartSteps, "of">;
  dependencies: Pick<Dependencies, "dependentsOf">;
  replicasOf(id: string): ReplicaStatus | undefined;
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
    step: deps.steps.of(id),
    dependents: await deps.dependencies.dependentsOf(container),
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
    listener: deps.tcpPorts.listenerOf(container),
    replicas: deps.replicasOf(id),
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

function describe(observed: Observed | undefined, { id, service, state, generation }: Container, storeId: string): string {
  // Nothing is expected of one that sleeps or whose start has failed.
  if (!observed) return state.includes("STOPPED") || state === "ERROR" ? "" : `The container engine has no container named ${service}.`;
  const { labels, exit, addresses } = observed;
  if (labels.store !== storeId || labels.container !== id) return `The engine has ${service}, but it belongs to another berth or container.`;
  const age =
    labels.generation === generation
      ? "with the current image and settings"
      : `with older settings (definition ${labels.generation} of ${generation})`;
  if (observed.running)
    return `The engine runs ${service}${addresses.length > 0 ? ` at ${describeAddresses(addresses)}` : ", without an address"}, ${age}.`;
  if (observed.paused) return `The engine has ${service} paused, with its memory, ${age}.`;
  if (exit?.outOfMemory) return `The engine reports that ${service} ran out of memory and was killed.`;
  return `The engine has ${service}, ${age}; it ${exit ? `ended with code ${exit.code}` : "does not run"}.`;
}

/** `logs`: its last lines, oldest first; empty where they could not be read, or where another run's replaced them. */
export type LastFailure = { at: number; code: FaultCode; message: string; logs: string[] };

const MOST_LINES = 50;

/** The newest failure in its history. */
function lastFailure({ row, history }: ExplainContext): LastFailure | undefined {
  const index = history.findLastIndex(({ cause }) => cause !== undefined);
  const entry = history[index];
  if (!entry?.cause) return undefined;
  const isNewest = history.slice(index + 1).every(({ toState }) => !isStopped(toState));
  const logs = row.fault?.code === entry.cause.code ? row.fault.logs : undefined;
  return { at: entry.at, ...entry.cause, logs: (logs ?? (isNewest ? linesOfTail(row.lastLogs) : [])).slice(-MOST_LINES) };
}

const TIMERS = ["backOff", "idleStop", "lifetimeEnd", "pausedEnd", "warmHours", "usualHours", "startLimit", "drainLimit", "statusLimit"] as const;

/** What happens without a request, and when (epoch ms), as things are. */
export type Timer = { kind: (typeof TIMERS)[number]; at: number; says: string };

const TIMER_ROWS: Record<Timer["kind"], { says: string; at(context: ExplainContext): number | undefined }> = {
  backOff: {
    says: "The next try may begin.",
    at: ({ row, now }) => {
      const waits =
        row.state === "PENDING_START" ||
        (row.state === "ERROR" && (row.config.onDemand || isEngineTrouble(row.fault?.code) || row.desiredInstances === 0));
      return waits && row.notBefore > now ? row.notBefore : undefined;
    },
  },
  idleStop: {
    says: "It stops for idleness, unless a request comes before.",
    at: (context) => {
      const leftMs = context.row.state === "STARTED" ? idleInMs(context, context.limits) : undefined;
      return leftMs === undefined ? undefined : context.now + leftMs;
    },
  },
  lifetimeEnd: {
    says: "It has run for its max_minutes and stops, used or not.",
    at: ({ row, now }) => {
      const leftMs = row.state === "STARTED" || row.state === "CHECKING" ? lifetimeLeftMs(row, now) : undefined;
      return leftMs === undefined ? undefined : now + leftMs;
    },
  },
  pausedEnd: {
    says: "The paused container is removed, and its memory is free again. The next request then starts a new one.",
    at: ({ row, limits }) => (row.state === "SYSTEM_STOPPED" && row.pausedOn !== undefined ? row.pausedOn + limits.pausedMs : undefined),
  },
  warmHours: {
    says: "Its keep_warm hours begin, and it is started.",
    at: ({ row, now }) => nextStartBy(row, row.config.keepWarm, now),
  },
  usualHours: {
    says: "Its usual hours begin, and it is started.",
    at: ({ row, now }) => nextStartBy(row, row.warmUp?.hours, now),
  },
  startLimit: {
    says: "The start fails, unless the container answers or the pull of its image makes progress.",
    at: ({ row, epoch, limits }) => (row.state === "STARTING" ? enteredOn(row, epoch) + limits.statusMs : undefined),
  },
  drainLimit: {
    says: "It is stopped, even if a request is still open.",
    at: (context) => {
      const { row, epoch, limits } = context;
      if (row.state !== "PENDING_USER_STOP" && row.state !== "PENDING_SYSTEM_STOP") return undefined;
      return enteredOn(row, epoch) + drainLimitMs(context, limits);
    },
  },
  statusLimit: {
    says: "It fails unless it is ready.",
    at: (context) => {
      const leftMs = containerTimeLeft(context, context.limits);
      return leftMs === undefined ? undefined : context.now + leftMs;
    },
  },
};

/** When hours in which it is kept warm start a container that sleeps. */
function nextStartBy({ state, stopFor }: Container, hours: readonly string[] | undefined, now: number): number | undefined {
  return state === "SYSTEM_STOPPED" && stopFor === "system" && hours !== undefined ? nextWarm(hours, now) : undefined;
}

/** The next one first. */
function timersOf(context: ExplainContext): Timer[] {
  return TIMERS.flatMap((kind) => {
    const { says, at } = TIMER_ROWS[kind];
    const due = at(context);
    return due === undefined ? [] : [{ kind, at: Math.round(due), says }];
  }).toSorted((one, other) => one.at - other.at);
}

const KEEPS_AWAKE = ["neverIdle", "dependents", "requests", "sockets", "unmeasured", "busy", "warmHours", "usualHours", "recentUse"] as const;

/** One thing that prevents a container's stop for idleness. */
export type KeepsAwake = { kind: (typeof KEEPS_AWAKE)[number]; says: string };

/** A sentence where it holds. */
const AWAKE_REASONS: Record<KeepsAwake["kind"], (context: ExplainContext) => string | undefined> = {
  neverIdle: ({ row: { config } }) => {
    if (config.shutdownTimeoutMinutes !== undefined) return undefined;
    const until = config.maxMinutes === undefined ? "" : `, has run for ${minutes(config.maxMinutes)} (max_minutes)`;
    return `Its container.json has no shutdown_timeout: it runs until a user stops it${until} or its package is published again.`;
  },
  dependents: ({ dependents }) =>
    dependents.length === 0 ? undefined : `${dependents.join(" and ")} ${dependents.length === 1 ? "depends" : "depend"} on it and may use it.`,
  requests: ({ usage: { open } }) => (open === 0 ? undefined : `${open === 1 ? "One request is" : `${open} requests are`} open.`),
  sockets: ({ row, usage: { sockets } }) => {
    if (sockets === 0) return undefined;
    const kind = row.tcpPort === undefined ? "WebSocket" : "TCP connection";
    return `${sockets === 1 ? `A ${kind} is` : `${sockets} ${kind}s are`} open; only their traffic counts as use.`;
  },
  unmeasured: ({ row, usage: { measuredMsAgo } }) =>
    row.config.shutdownTimeoutMinutes === undefined || measuredMsAgo !== undefined
      ? undefined
      : "It is a queue worker, and how much it uses is not known yet, or not to the container engine: until then it is not idle.",
  busy: ({ row, now, limits }) =>
    busyMs(row, now, limits) > 0 ? `It has reported that it is busy until ${new Date(row.busyUntil).toISOString()}.` : undefined,
  warmHours: ({ row, now }) => {
    const until = warmUntil(row.config.keepWarm ?? [], now);
    return until === undefined ? undefined : `Its keep_warm hours last until ${new Date(until).toISOString()}.`;
  },
  usualHours: ({ row: { warmUp }, now }) => {
    const until = warmUp && warmUntil(warmUp.hours, now);
    return until === undefined ? undefined : `Its usual hours (${warmUp?.hours.join("; ")}) last until ${new Date(until).toISOString()}.`;
  },
  recentUse: (context) => {
    const { row, now, limits } = context;
    const minutesIdle = row.config.shutdownTimeoutMinutes;
    const leftMs = idleInMs(context, limits) ?? 0;
    // What depends on it may keep it running after that time, and so may what it reports.
    if (minutesIdle === undefined || leftMs <= 0 || busyMs(row, now, limits) > 0 || warmMs(row, now) > 0) return undefined;
    return `It was started, or had traffic${row.deployed?.worker ? " or worked" : ""}, within the last ${minutesIdle === 1 ? "minute" : minutes(minutesIdle)}.`;
  },
};

/** Empty for one that does not run. */
function keepsAwake(context: ExplainContext): KeepsAwake[] {
  if (context.row.state !== "STARTED") return [];
  return KEEPS_AWAKE.flatMap((kind) => {
    const says = AWAKE_REASONS[kind](context);
    return says === undefined ? [] : [{ kind, says }];
  });
}
