import type { StartStatus } from "../../gateway/contract.ts";
import type { Container } from "../model/entities.ts";
import { minutes } from "../model/lifetime.ts";
import type { HistoryEntry } from "../model/records.ts";
import { type ContainerEvent, type ContainerState, isPassingImage } from "../model/states.ts";
import { type ContainerSituation, type ReadSituation, warmMs } from "./decide.ts";
import { describeDependencies } from "./dependencies.ts";
import { workerNote } from "./deploy.ts";
import { type ContainerEngine, cutLogTail, isEngineTrouble, linesOfTail, logTailLines, LONGEST_FAULT_LOGS } from "./engine.ts";
import type { LifecycleLimits } from "./limits.ts";
import { describeStep, type StartStep, type StartSteps } from "./start-steps.ts";

/** What an explanation is made from: the situation that a decision is made from, and the container's history. */
export type ExplainContext = ContainerSituation & {
  limits: LifecycleLimits;
  /** Of the deploy in progress. */
  step: StartStep | undefined;
  /** The names of the containers that depend on it, and run or are about to. */
  dependents: readonly string[];
  /** Oldest first. */
  history: readonly HistoryEntry[];
  /** The login of a user. */
  nameOf(userId: string | undefined): string;
};

/** Why a container is in its state, in a sentence or two for a reader. */
export function explainState(context: ExplainContext): string {
  return REASONS[context.row.state](context);
}

const REASONS: Record<ContainerState, (context: ExplainContext) => string> = {
  PENDING_START: (context) => `${startReason(context)} ${waitReason(context)}`,
  STARTING: (context) => `${startReason(context)} ${bootReason(context)}`,
  STARTED: (context) => `${runReason(context)}${deployedSentences(context)}${outdatedNote(context)}`,
  CHECKING: ({ history }) =>
    history.at(-1)?.byUser === undefined
      ? "The engine reported its end, or another address than before. Requests wait until the address is verified."
      : "A request was refused at its address. Requests wait until the address is verified.",
  PENDING_USER_STOP: (context) => `${stopReason(context)} Open requests may end first.`,
  PENDING_SYSTEM_STOP: (context) => `${stopReason(context)} Open requests may end first.`,
  STOPPING: (context) => `${stopReason(context)} The engine is stopping it.`,
  USER_STOPPED: (context) => `${stopReason(context)} ${nextStart(context)}`,
  SYSTEM_STOPPED: (context) =>
    `${stopReason(context)} ${context.row.pausedOn === undefined ? "" : "It is paused and keeps its memory. "}${nextStart(context)}`,
  ERROR: (context) => `${context.row.fault?.message ?? "It failed."} ${nextRetry(context)}`,
};

function startReason({ row, history, nameOf }: ExplainContext): string {
  const begin = history.findLast(({ toState }) => toState === "PENDING_START");
  if (begin?.event === "lost") return "It ended while it ran, and is started again.";
  if (begin?.event === "redefined") return "Its definition changed while it started.";
  if (row.requestedFor === "keepWarm") return "Its keep_warm hours have begun.";
  if (row.requestedFor === "usualHours") return `Its usual hours have begun${usualHoursNote(row)}.`;
  if (row.requestedFor === "scaleOut") return "Its container needs another replica.";
  if (row.requestedFor === "dependency") return "A container that depends on it was started.";
  if (row.requestedFor === "expiry") return "It had run for its max_minutes, and is started again.";
  return `${requesterOf(row, nameOf)} requested its start.`;
}

const NOT_BEGUN = "The container engine has not begun its start.";

function bootReason({ row, step, now }: ExplainContext): string {
  if (isEngineTrouble(row.fault?.code)) return `${row.fault?.message} berth tries again.`;
  return step ? describeStep(step, now) : NOT_BEGUN;
}

function waitReason({ row, image, dependencies, now }: ContainerSituation): string {
  if (!image) return "Its image was removed.";
  if (row.notBefore > now) return `It waits before the next try, because ${row.attempts === 1 ? "one start" : `${row.attempts} starts`} failed.`;
  if (isPassingImage(image)) return `It waits for its image ${image.ref}, which is being resolved and pulled.`;
  return describeDependencies(dependencies) ?? "It waits for its turn to start.";
}

/** What may bring a container to STARTED. */
const RUN_REASONS: Partial<Record<ContainerEvent, (context: ExplainContext) => string>> = {
  answered: (context) => `It was started ${startedFor(context)} and ${shown(context.row)}.`,
  foundRunning: () => "The engine reported it running, and it answers.",
  usedAfterAll: () => "A request came when it was about to stop for idleness.",
};

/** What it has shown at its start. */
function shown({ addresses, deployed }: Container): string {
  if (deployed?.worker) return "runs";
  return addresses.length === 0 ? "runs; it exposes no port" : "accepts connections";
}

function startedFor({ row, nameOf }: ExplainContext): string {
  if (row.requestedFor === "scaleOut") return "as another replica of its container";
  if (row.requestedFor === "dependency") return "for a container that depends on it";
  if (row.requestedFor === "usualHours") return `for its usual hours${usualHoursNote(row)}`;
  if (row.requestedFor === "expiry") return "again after its max_minutes";
  return row.requestedFor === "keepWarm" ? "for its keep_warm hours" : `for ${requesterOf(row, nameOf)}`;
}

/** They may have ended since the start. */
function usualHoursNote({ warmUp }: Container): string {
  if (warmUp === undefined || warmUp.hours.length === 0) return "";
  return ` (${warmUp.hours.join("; ")}, ${warmUp.by === "auto" ? "by BERTH_WARM_UP=auto" : "chosen by a user"})`;
}

/** A TCP connection has no user. */
function requesterOf({ requestedBy, requestedFor, tcpPort }: Container, nameOf: ExplainContext["nameOf"]): string {
  const isConnection = requestedBy === undefined && requestedFor === "request" && tcpPort !== undefined;
  return isConnection ? "a TCP connection" : nameOf(requestedBy);
}

function runReason(context: ExplainContext): string {
  const event = context.history.at(-1)?.event as ContainerEvent | undefined;
  return (event && RUN_REASONS[event]?.(context)) ?? "It runs.";
}

function deployedSentences(context: ExplainContext): string {
  const note = workerNote(context);
  const { warning } = context.row.deployed ?? {};
  return `${note === undefined ? "" : ` It is a ${note}.`}${warning === undefined ? "" : ` ${warning}`}`;
}

function outdatedNote({ row, image, turns }: ExplainContext): string {
  if (row.runningGeneration === undefined || row.runningGeneration === row.generation) return "";
  if (turns !== undefined && image?.state === "READY") return " It runs an older definition, and is replaced when its turn among the replicas comes.";
  const failure = image?.state === "ERROR" ? `, which failed: ${image.fault?.message}` : ".";
  return ` It runs an older definition; the newer one waits for its image${failure}`;
}

/** What may stop a container. */
const STOP_REASONS: Partial<Record<ContainerEvent, (context: ExplainContext, entry: HistoryEntry) => string>> = {
  stopWished: ({ nameOf }, { byUser }) => (byUser === undefined ? "It is no longer needed." : `${nameOf(byUser)} stopped it.`),
  idled: ({ row }) => `It was stopped after ${minutes(row.config.shutdownTimeoutMinutes)} without traffic.`,
  expired: ({ row }) =>
    `It had run for ${minutes(row.config.maxMinutes)}, its max_minutes, and ${row.desiredInstances === 1 ? "is stopped, then started again" : "was stopped"}.`,
  displaced: () => "It was idle, and was stopped because the limits of BERTH_CAPACITY_… had no place for another container.",
  redefined: () => "Its definition changed: it is stopped, then started as the new one.",
  foundRunning: () => "The engine reported it running, and no start was requested.",
  lostAsleep: (_, { cause }) => cause?.message ?? "It ended by itself.",
};

function stopReason(context: ExplainContext): string {
  const entry = context.history.findLast(({ event }) => event in STOP_REASONS);
  const reason = entry && STOP_REASONS[entry.event as ContainerEvent]?.(context, entry);
  return reason ?? "It has not run since it was published.";
}

function nextStart({ row, now }: ExplainContext): string {
  if (row.stopFor === "system" && warmMs(row, now) > 0)
    return "It is to be kept warm now, and starts once the limits of BERTH_CAPACITY_… have a place. A request may start it before.";
  return row.config.onDemand || row.stopFor === "system" ? "The next request wakes it." : "A user has to start it.";
}

function nextRetry({ row }: ExplainContext): string {
  if (row.desiredInstances === 0) return "berth tries to stop it again.";
  if (isEngineTrouble(row.fault?.code)) return "The container engine failed, not the container: berth tries again.";
  return row.config.onDemand ? "The next request tries again." : "It stays so until a user starts it or it is published again.";
}

export type StartStatusDeps = {
  steps: Pick<StartSteps, "of">;
  engine: Pick<ContainerEngine, "logTail">;
  situationOf: ReadSituation;
};

/** For requests whose time limit has passed, so that a hundred containers that start slowly do not each have their log read at once. */
const MOST_LOGS = 16;
const MOST_LINES = 20;

/** Reads what a start in progress does and the log tail of what it has started so far; undefined for a container that does not start. */
export function createStartStatus({ steps, engine, situationOf }: StartStatusDeps) {
  let reading = 0;
  const logsOf = async (row: Container, signal: AbortSignal): Promise<string[]> => {
    if (reading >= MOST_LOGS) return [];
    reading++;
    try {
      const logs = await logTailLines(engine, row, signal);
      return linesOfTail(cutLogTail(logs.slice(-MOST_LINES).join("\n"), LONGEST_FAULT_LOGS));
    } finally {
      reading--;
    }
  };
  return async (row: Container, signal: AbortSignal): Promise<StartStatus | undefined> => {
    const situation = await situationOf(row, "unknown");
    const step = steps.of(row.id);
    if (row.state === "PENDING_START") return { text: `${waitReason(situation)} ${CONTINUES}` };
    if (row.state === "STARTING" && step) {
      const logs = step.launchedOn === undefined ? [] : await logsOf(row, signal);
      return { text: `${describeStep(step, situation.now)} ${CONTINUES}`, ...(logs.length === 0 ? {} : { logs }) };
    }
    if (row.state === "STARTED") {
      // It has just refused connections, whatever it did at its start.
      const note = workerNote({ row, image: situation.image }, "silent");
      return note === undefined ? undefined : { text: `It is a ${note}.` };
    }
    return WAITING[row.state] === undefined ? undefined : { text: `${WAITING[row.state]} ${CONTINUES}` };
  };
}

const CONTINUES = "The start continues: try again.";

const WAITING: Partial<Record<Container["state"], string>> = {
  STARTING: NOT_BEGUN,
  CHECKING: "Its address is being verified.",
  PENDING_SYSTEM_STOP: "Its earlier instance is being stopped.",
  PENDING_USER_STOP: "Its earlier instance is being stopped.",
  STOPPING: "Its earlier instance is being stopped.",
};
