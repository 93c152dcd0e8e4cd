export type ContainerState =
  | "PENDING_START"
  | "STARTING"
  | "STARTED"
  | "CHECKING"
  | "PENDING_USER_STOP"
  | "PENDING_SYSTEM_STOP"
  | "STOPPING"
  | "USER_STOPPED"
  | "SYSTEM_STOPPED"
  | "ERROR";

export type ContainerEvent =
  /** A user's `run` or a request to an on-demand container. */
  | "startWished"
  | "stopWished"
  /** No use for `shutdown_timeout` minutes. */
  | "idled"
  /** It has run for its `max_minutes`. */
  | "expired"
  /** It was idle, and another container needed its place. */
  | "displaced"
  /** A request arrived while it was about to stop for idleness. */
  | "usedAfterAll"
  /** The definition changed: stop, then start the new one. */
  | "redefined"
  | "startBegan"
  /** It accepted a connection (or, without a port, ran through its grace time). */
  | "answered"
  | "startFailed"
  /** Observed: it runs and answers, whatever started it. */
  | "foundRunning"
  /** Observed: it should run and does not; a plain container is started again. */
  | "lost"
  /** The same of an on-demand container, which the next request wakes. */
  | "lostAsleep"
  /** Its address is suspect and is verified again. */
  | "doubted"
  | "stopBegan"
  | "stoppedForUser"
  | "stoppedForSystem"
  /** It stayed in a passing state for longer than `containerStatusTimeoutMinutes`. */
  | "timedOut";

/** Rows are states, columns are events; an empty cell is an event that the state does not allow. */
export const CONTAINER_TABLE: TransitionTable<ContainerState, ContainerEvent> = {
  PENDING_START: { startBegan: "STARTING", startFailed: "ERROR", foundRunning: "STARTED", stopWished: "PENDING_USER_STOP", timedOut: "ERROR" },
  STARTING: { answered: "STARTED", startFailed: "ERROR", stopWished: "PENDING_USER_STOP", redefined: "PENDING_START", timedOut: "ERROR" },
  STARTED: {
    stopWished: "PENDING_USER_STOP",
    idled: "PENDING_SYSTEM_STOP",
    expired: "PENDING_SYSTEM_STOP",
    displaced: "PENDING_SYSTEM_STOP",
    redefined: "PENDING_SYSTEM_STOP",
    lost: "PENDING_START",
    lostAsleep: "SYSTEM_STOPPED",
    doubted: "CHECKING",
  },
  CHECKING: {
    foundRunning: "STARTED",
    lost: "PENDING_START",
    lostAsleep: "SYSTEM_STOPPED",
    stopWished: "PENDING_USER_STOP",
    redefined: "PENDING_SYSTEM_STOP",
    timedOut: "ERROR",
  },
  PENDING_USER_STOP: { stopBegan: "STOPPING", timedOut: "ERROR" },
  PENDING_SYSTEM_STOP: { stopBegan: "STOPPING", usedAfterAll: "STARTED", stopWished: "PENDING_USER_STOP", timedOut: "ERROR" },
  STOPPING: { stoppedForUser: "USER_STOPPED", stoppedForSystem: "SYSTEM_STOPPED", timedOut: "ERROR" },
  USER_STOPPED: { startWished: "PENDING_START", foundRunning: "PENDING_USER_STOP" },
  SYSTEM_STOPPED: { startWished: "PENDING_START", stopWished: "USER_STOPPED", foundRunning: "PENDING_SYSTEM_STOP" },
  ERROR: { startWished: "PENDING_START", stopWished: "PENDING_USER_STOP", foundRunning: "STARTED" },
};

/** States that end by themselves; in each, a clock runs. */
export const PASSING_CONTAINER_STATES = [
  "PENDING_START",
  "STARTING",
  "CHECKING",
  "PENDING_USER_STOP",
  "PENDING_SYSTEM_STOP",
  "STOPPING",
] as const satisfies ContainerState[];

export type PassingContainerState = (typeof PASSING_CONTAINER_STATES)[number];

export function isPassing(state: ContainerState): state is PassingContainerState {
  return (PASSING_CONTAINER_STATES as readonly string[]).includes(state);
}

/** `state`: of a container, also as its history has it. */
export function isStopped(state: string): boolean {
  return state === "USER_STOPPED" || state === "SYSTEM_STOPPED";
}

/** A start was requested and has not ended yet. */
export function isStarting(state: ContainerState): boolean {
  return state === "PENDING_START" || state === "STARTING";
}

/** The words that clients compare; plugins test prefixes of them. */
export const CONTAINER_WIRE_STATES: Record<ContainerState, string> = {
  PENDING_START: "pending start",
  STARTING: "starting",
  STARTED: "started",
  CHECKING: "checking",
  PENDING_USER_STOP: "pending user stop",
  PENDING_SYSTEM_STOP: "pending system stop",
  STOPPING: "stopping",
  USER_STOPPED: "stopped by user",
  SYSTEM_STOPPED: "stopped by system",
  ERROR: "error",
};

/** A transition table as data. */
export type TransitionTable<State extends string, Event extends string> = Record<State, Partial<Record<Event, State>>>;

/** The state that follows, or undefined where the state does not allow the event. */
export function nextState<State extends string, Event extends string>(
  table: TransitionTable<State, Event>,
  state: State,
  event: Event,
): State | undefined {
  return table[state][event];
}

export type ImageState = "PENDING_VALIDATION" | "VALIDATING" | "READY" | "ERROR" | "DELETED";

export type ImageEvent =
  /** Published again, or a user requested another validation. */
  "validationWished" | "validationBegan" | "resolved" | "refused" | "removed" | "timedOut";

/** Rows are states, columns are events; an empty cell is an event that the state does not allow. DELETED is a tombstone. */
export const IMAGE_TABLE: TransitionTable<ImageState, ImageEvent> = {
  PENDING_VALIDATION: { validationBegan: "VALIDATING", removed: "DELETED", timedOut: "ERROR" },
  VALIDATING: { resolved: "READY", refused: "ERROR", validationWished: "PENDING_VALIDATION", removed: "DELETED", timedOut: "ERROR" },
  READY: { validationWished: "PENDING_VALIDATION", removed: "DELETED" },
  ERROR: { validationWished: "PENDING_VALIDATION", removed: "DELETED" },
  DELETED: { validationWished: "PENDING_VALIDATION" },
};

export const PASSING_IMAGE_STATES = ["PENDING_VALIDATION", "VALIDATING"] as const satisfies ImageState[];

export function isPassingImage({ state }: { state: ImageState }): boolean {
  return (PASSING_IMAGE_STATES as readonly string[]).includes(state);
}

export const IMAGE_WIRE_STATES = {
  PENDING_VALIDATION: "pending validation",
  VALIDATING: "validating",
  READY: "ready",
  ERROR: "error",
  DELETED: "deleted",
} as const satisfies Record<ImageState, string>;

/**
 * Kinds of work: nothing in one lane waits for anything in another. A start may wait minutes for its container's boot, a stop 10 s for its container's end,
 * an image half an hour for its pull.
 */
export const LANES = ["start", "stop", "look", "image", "sweep"] as const;
export type Lane = (typeof LANES)[number];

/** Which lane a container's next step belongs to. */
const LANE_OF_STATE: Record<ContainerState, Lane> = {
  PENDING_START: "start",
  STARTING: "start",
  STARTED: "look",
  CHECKING: "look",
  PENDING_USER_STOP: "stop",
  PENDING_SYSTEM_STOP: "stop",
  STOPPING: "stop",
  USER_STOPPED: "look",
  SYSTEM_STOPPED: "look",
  ERROR: "look",
};

export function laneOf({ state }: { state: ContainerState }): Lane {
  return LANE_OF_STATE[state];
}
