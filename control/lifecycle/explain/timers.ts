import { isEngineTrouble } from "../failures.ts";
import { idleInMs, busyMs } from "../keep-container.ts";
import { startLimit } from "../limits.ts";
import { containerTimeLeft, enteredOn } from "../deadlines.ts";
import { nextWarm } from "../../model/warm-hours.ts";
import { type ExplainContext, minutes } from "./why.ts";
import { warmMs } from "../idle-policy.ts";

export const TIMERS = ["backOff", "idleStop", "pausedEnd", "warmHours", "startLimit", "drainLimit", "statusLimit"] as const;

/** What happens by itself, and when (epoch ms), as things are. */
export type Timer = { kind: (typeof TIMERS)[number]; at: number; says: string };

type Row = { says: string; at(about: ExplainContext): number | undefined };

const TIMER_ROWS: Record<Timer["kind"], Row> = {
  backOff: {
    says: "It may be tried again.",
    at: ({ row, rooms }) => {
      const waits =
        row.state === "PENDING_START" ||
        (row.state === "ERROR" && (row.config.onDemand || isEngineTrouble(row.fault?.code) || row.desiredInstances === 0));
      return waits && row.notBefore > rooms.clock.now() ? row.notBefore : undefined;
    },
  },
  idleStop: {
    says: "It goes to sleep, unless it is used before.",
    at: ({ row, rooms }) => {
      const leftMs = row.state === "STARTED" ? idleInMs(rooms, row) : undefined;
      return leftMs === undefined ? undefined : rooms.clock.now() + leftMs;
    },
  },
  pausedEnd: {
    says: "What lies frozen is ended, and its memory is free again; the next request then starts it anew.",
    at: ({ row, rooms }) => (row.state === "SYSTEM_STOPPED" && row.pausedOn !== undefined ? row.pausedOn + rooms.limits.pausedMs : undefined),
  },
  warmHours: {
    says: "Its keep_warm hours begin, and it is started.",
    at: ({ row, rooms }) =>
      row.state === "SYSTEM_STOPPED" && row.stopFor === "system" && row.config.keepWarm
        ? nextWarm(row.config.keepWarm, rooms.clock.now())
        : undefined,
  },
  startLimit: {
    says: "The start is given up, unless it answers or its image's pull makes progress.",
    at: ({ row, rooms }) => (row.state === "STARTING" ? enteredOn(rooms, row) + startLimit(rooms.limits) : undefined),
  },
  drainLimit: {
    says: "It is stopped, even where something is still open.",
    at: ({ row, rooms }) => {
      if (row.state === "PENDING_USER_STOP") return enteredOn(rooms, row) + rooms.limits.userDrainMs;
      return row.state === "PENDING_SYSTEM_STOP" ? enteredOn(rooms, row) + rooms.limits.drainMs : undefined;
    },
  },
  statusLimit: {
    says: "It has been in this state for too long, and becomes an error.",
    at: ({ row, rooms }) => {
      const leftMs = containerTimeLeft(rooms, row);
      return leftMs === undefined ? undefined : rooms.clock.now() + leftMs;
    },
  },
};

/** The next one first. */
export function timersOf(about: ExplainContext): Timer[] {
  return TIMERS.flatMap((kind) => {
    const { says, at } = TIMER_ROWS[kind];
    const due = at(about);
    return due === undefined ? [] : [{ kind, at: Math.round(due), says }];
  }).toSorted((one, other) => one.at - other.at);
}

export const KEEPS_AWAKE = ["neverIdle", "requests", "sockets", "busy", "warmHours", "recentUse"] as const;

/** One thing that keeps a container from its idle stop. */
export type KeepsAwake = { kind: (typeof KEEPS_AWAKE)[number]; says: string };

/** A sentence where it holds. */
const AWAKE_REASONS: Record<KeepsAwake["kind"], (about: ExplainContext) => string | undefined> = {
  neverIdle: ({ row }) =>
    row.config.shutdownTimeoutMinutes === undefined
      ? "Its container.json has no shutdown_timeout: it runs until somebody stops it or its package is published again."
      : undefined,
  requests: ({ row, rooms }) => {
    const open = rooms.usage.open(row.id);
    return open === 0 ? undefined : `${open === 1 ? "One request is" : `${open} requests are`} open.`;
  },
  sockets: ({ row, rooms }) => {
    const sockets = rooms.usage.sockets(row.id);
    return sockets === 0
      ? undefined
      : `${sockets === 1 ? "A WebSocket is" : `${sockets} WebSockets are`} open; only what passes over them counts as use.`;
  },
  busy: ({ row, rooms }) => (busyMs(rooms, row) > 0 ? `It has said that it is busy until ${new Date(row.busyUntil).toISOString()}.` : undefined),
  warmHours: ({ row, rooms }) => {
    const leftMs = warmMs(rooms, row);
    return leftMs > 0 ? `Its keep_warm hours last until ${new Date(rooms.clock.now() + leftMs).toISOString()}.` : undefined;
  },
  recentUse: ({ row, rooms }) => {
    const minutesIdle = row.config.shutdownTimeoutMinutes;
    if (minutesIdle === undefined || rooms.usage.open(row.id) > 0 || busyMs(rooms, row) > 0 || warmMs(rooms, row) > 0) return undefined;
    return `It was used, or started, within ${minutesIdle === 1 ? "the last minute" : `the last ${minutes(minutesIdle)}`}.`;
  },
};

/** Empty for one that does not run. */
export function keepsAwake(about: ExplainContext): KeepsAwake[] {
  if (about.row.state !== "STARTED") return [];
  return KEEPS_AWAKE.flatMap((kind) => {
    const says = AWAKE_REASONS[kind](about);
    return says === undefined ? [] : [{ kind, says }];
  });
}
