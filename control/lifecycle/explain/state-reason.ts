import type { HistoryEntry } from "../../store/history.ts";
import type { ContainerEvent, ContainerState } from "../../model/states.ts";
import { isEngineTrouble } from "../failures.ts";
import { isPassingImage } from "../deadlines.ts";
import type { Container, Image } from "../../model/entities.ts";
import type { Rooms } from "../rooms.ts";

/** Why it is in its state, in a sentence or two for whoever asks. */
export function explainState(about: ExplainContext): string {
  return WHY[about.row.state](about);
}

const WHY: Record<ContainerState, (about: ExplainContext) => string> = {
  PENDING_START: (about) => `${askedBy(about)} ${waitsFor(about)}`,
  STARTING: (about) => `${askedBy(about)} It is being created, or boots, and accepts no connection yet.`,
  STARTED: (about) => `${cameUp(about)}${outdated(about)}`,
  CHECKING: (about) =>
    about.history.at(-1)?.byUser === undefined
      ? "The engine reported its end, or another address than before. Requests wait until the address is verified."
      : "A request was refused at its address. Requests wait until the address is verified.",
  PENDING_USER_STOP: (about) => `${wentDown(about)} What is open may end first.`,
  PENDING_SYSTEM_STOP: (about) => `${wentDown(about)} What is open may end first.`,
  STOPPING: (about) => `${wentDown(about)} The engine is stopping it.`,
  USER_STOPPED: (about) => `${wentDown(about)} ${wakes(about)}`,
  SYSTEM_STOPPED: (about) => `${wentDown(about)} ${about.row.pausedOn === undefined ? "" : "It lies frozen, with its memory. "}${wakes(about)}`,
  ERROR: (about) => `${about.row.fault?.message ?? "It failed."} ${retries(about)}`,
};

function askedBy({ row, history, nameOf }: ExplainContext): string {
  const began = history.findLast(({ toState }) => toState === "PENDING_START");
  if (began?.event === "lost") return "It ran and was lost, and is started again.";
  if (began?.event === "redefined") return "Its definition changed while it started.";
  if (row.wishedFor === "keepWarm") return "Its keep_warm hours have come.";
  return `${nameOf(row.wishedBy)} asked for it.`;
}

function waitsFor({ rooms, row, image }: ExplainContext): string {
  if (!image) return "Its image was removed.";
  if (row.notBefore > rooms.clock.now())
    return `It waits before the next try, since ${row.attempts === 1 ? "one start" : `${row.attempts} starts`} failed.`;
  if (isPassingImage(image)) return `It waits for its image ${image.ref}, which is being looked for and pulled.`;
  return "It waits for its turn to start.";
}

/** What may bring a container to STARTED. */
const CAME_UP: Partial<Record<ContainerEvent, (about: ExplainContext) => string>> = {
  answered: (about) => `Started ${startedFor(about)}, it ${about.row.address === undefined ? "runs; it exposes no port" : "accepts connections"}.`,
  foundRunning: () => "It was found running, and answers.",
  usedAfterAll: () => "It was about to sleep when somebody used it after all.",
};

function startedFor({ row, nameOf }: ExplainContext): string {
  return row.wishedFor === "keepWarm" ? "for its keep_warm hours" : `for ${nameOf(row.wishedBy)}`;
}

function cameUp(about: ExplainContext): string {
  const event = about.history.at(-1)?.event as ContainerEvent | undefined;
  return (event && CAME_UP[event]?.(about)) ?? "It runs.";
}

function outdated({ row, image }: ExplainContext): string {
  if (row.runningGeneration === undefined || row.runningGeneration === row.generation) return "";
  return ` It is of an older definition; the newer one waits for its image${image?.state === "ERROR" ? `, which failed: ${image.fault?.message}` : "."}`;
}

/** What may take a container down. */
const WENT_DOWN: Partial<Record<ContainerEvent, (about: ExplainContext, entry: HistoryEntry) => string>> = {
  stopWished: ({ nameOf }, { byUser }) => (byUser === undefined ? "It is no longer wanted." : `${nameOf(byUser)} stopped it.`),
  idled: ({ row }) => `Nobody had used it for ${minutes(row.config.shutdownTimeoutMinutes)}.`,
  redefined: () => "Its definition changed: it is stopped, then started as the new one.",
  foundRunning: () => "It was found running though nobody had asked for it.",
  lostAsleep: (_, { cause }) => cause?.message ?? "It ended by itself.",
};

function wentDown(about: ExplainContext): string {
  const entry = about.history.findLast(({ event }) => event in WENT_DOWN);
  const why = entry && WENT_DOWN[entry.event as ContainerEvent]?.(about, entry);
  return why ?? "It has not run since it was published.";
}

function wakes({ row }: ExplainContext): string {
  return row.config.onDemand || row.stopFor === "system" ? "The next request wakes it." : "A user has to start it.";
}

function retries({ row }: ExplainContext): string {
  if (row.desiredInstances === 0) return "Stopping it is tried again.";
  if (isEngineTrouble(row.fault?.code)) return "The engine's trouble is nobody's fault: it is tried again by itself.";
  return row.config.onDemand ? "The next request tries again." : "It stays so until a user starts it or it is published again.";
}

export function minutes(count: number | undefined): string {
  return count === 1 ? "a minute" : `${count ?? 0} minutes`;
}

/** What an explanation is made of: the stored state, nothing that a step would not see too. */
export type ExplainContext = {
  rooms: Rooms;
  row: Container;
  image: Image | undefined;
  /** Oldest first. */
  history: readonly HistoryEntry[];
  /** A person as others know them. */
  nameOf(userId: string | undefined): string;
};

export function explainContext(rooms: Rooms, row: Container): ExplainContext {
  const { store } = rooms;
  return {
    rooms,
    row,
    image: store.images.find(row.imageId),
    history: store.history.of(row.id),
    nameOf: (userId) => (userId === undefined ? "berth" : (store.users.find(userId)?.login ?? "a user who is gone")),
  };
}
